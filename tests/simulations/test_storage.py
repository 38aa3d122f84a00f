import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulations import centring
from simulations.storage import config_hash, load, load_if_current, save

CONFIG = centring.Config(instances=2, n_tasks=4, dimension=4, means=(0.0,), spreads=(0.1,), tilts=(0.0,))
COMMAND = ["python", "-m", "simulations", "centring"]


@pytest.fixture(scope="module")
def result() -> centring.Result:
    return centring.simulate(CONFIG)


@pytest.fixture
def saved(result: centring.Result, tmp_path: Path) -> Path:
    save(tmp_path, centring, CONFIG, result, 1.5, COMMAND)
    return tmp_path


def test_what_is_saved_is_loaded_to_the_last_bit(saved: Path, result: centring.Result) -> None:
    stored = load(saved, centring)
    assert stored.config == CONFIG
    assert stored.seconds == 1.5
    assert stored.findings == result.findings == json.loads((saved / "centring.json").read_text())["findings"]
    for field in fields(result):
        np.testing.assert_array_equal(getattr(stored.result, field.name), getattr(result, field.name))
        assert getattr(stored.result, field.name).dtype == getattr(result, field.name).dtype
    assert sorted(path.name for path in saved.iterdir()) == ["centring.json", "centring.npz"]


def test_only_the_same_configuration_counts_as_current(saved: Path) -> None:
    assert load_if_current(saved, centring, replace(CONFIG)) is not None
    assert load_if_current(saved, centring, replace(CONFIG, seed=1)) is None
    assert load_if_current(saved / "elsewhere", centring, CONFIG) is None


def test_every_field_of_a_configuration_changes_its_hash() -> None:
    others = {"means": (1.0,), "spreads": (0.2,), "tilts": (0.5,), "noise": 2.0}
    changed = [replace(CONFIG, **{f.name: others.get(f.name, 6)}) for f in fields(CONFIG)]
    assert len({config_hash(config) for config in (CONFIG, *changed)}) == len(fields(CONFIG)) + 1


def test_arrays_of_another_run_beside_the_description_are_refused(saved: Path, result: centring.Result) -> None:
    description = (saved / "centring.json").read_bytes()
    save(saved, centring, CONFIG, replace(result, gain=result.gain + 1), 1.5, COMMAND)
    (saved / "centring.json").write_bytes(description)  # as if killed between the two files
    with pytest.raises(ValueError, match=r"centring\.npz is not the file"):
        load(saved, centring)
    assert load_if_current(saved, centring, CONFIG) is None


def test_a_finding_that_is_no_json_value_leaves_the_earlier_result_alone(saved: Path, result: centring.Result) -> None:
    class Endless(centring.Result):
        """A result whose finding is infinite."""

        @property
        def findings(self) -> dict[str, Any]:
            return {"loss": float("inf")}

    endless = Endless(**{field.name: getattr(result, field.name) for field in fields(result)})
    with pytest.raises(ValueError, match="JSON compliant"):
        save(saved, centring, CONFIG, endless, 1.5, COMMAND)
    assert load(saved, centring).findings == result.findings


def test_results_of_another_version_of_the_experiment_are_refused(saved: Path) -> None:
    path = saved / "centring.json"
    description = json.loads(path.read_text())
    del description["config"]["noise"]
    path.write_text(json.dumps(description))
    with pytest.raises(ValueError, match="another version of centring"):
        load(saved, centring)


def test_results_of_earlier_code_can_be_read_and_are_not_current(saved: Path) -> None:
    path = saved / "centring.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps(description | {"source_sha256": "0" * 64}))
    assert load(saved, centring).config == CONFIG
    assert load_if_current(saved, centring, CONFIG) is None


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_description_that_is_none_is_refused(saved: Path, text: str) -> None:
    (saved / "centring.json").write_text(text)
    with pytest.raises(ValueError, match="describes no result"):
        load(saved, centring)
