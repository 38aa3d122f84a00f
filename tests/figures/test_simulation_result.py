from pathlib import Path

import numpy as np
import pytest

from figures.simulation_result import SimulationResult
from training.errors import InputError, MissingInput
from training.run_directory import file_hash, write_json


def write(folder: Path) -> None:
    np.savez(folder / "toy.npz", losses=np.arange(6.0).reshape(2, 3))
    sealed = {"arrays_sha256": file_hash(folder / "toy.npz")}
    write_json(folder / "toy.json", {"config": {"seed": 3}, "findings": {"slope": 2.0}} | sealed)


def test_a_result_is_what_its_two_files_hold(tmp_path: Path) -> None:
    write(tmp_path)
    result = SimulationResult.read(tmp_path, "toy")
    np.testing.assert_array_equal(result.arrays["losses"], [[0, 1, 2], [3, 4, 5]])
    assert (result.name, result.config["seed"], result.findings["slope"]) == ("toy", 3, 2.0)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_an_experiment_that_was_not_run_is_told_with_its_command(tmp_path: Path, suffix: str) -> None:
    write(tmp_path)
    (tmp_path / f"toy{suffix}").unlink()
    with pytest.raises(MissingInput, match="run python -m simulations toy --out"):
        SimulationResult.read(tmp_path, "toy")


def test_arrays_of_another_run_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    np.savez(tmp_path / "toy.npz", losses=np.zeros(1))
    with pytest.raises(InputError, match=r"not the file that toy\.json describes"):
        SimulationResult.read(tmp_path, "toy")
