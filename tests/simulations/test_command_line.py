import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulations import centring
from simulations.__main__ import EXPERIMENTS, configured, main

TINY = ["--set", "instances=2", "--set", "n_tasks=4", "--set", "means=[0.0]", "--set", "spreads=[0.1]"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["simulations", *arguments])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_it_switches_float64_on_itself_and_saves(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "JAX_ENABLE_X64"}
    command = [sys.executable, "-m", "simulations", "centring", "--out", str(tmp_path), "--seed", "3", *TINY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("centring: ")
    assert "what came out" in done.stdout
    description = json.loads((tmp_path / "centring.json").read_text())
    assert description["config"]["seed"] == 3
    assert description["config"]["means"] == [0.0]
    assert description["command"] == ["python", "-m", "simulations", *command[3:]]
    assert set(description["versions"]) == {"python", "merit-lab", "jax", "jaxlib", "numpy", "scipy"}


def test_results_of_the_same_settings_are_kept_and_others_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["centring", "--out", str(tmp_path), *TINY]
    assert run(monkeypatch, *arguments) == 0
    before = (tmp_path / "centring.json").stat().st_mtime_ns
    capsys.readouterr()
    assert run(monkeypatch, *arguments) == 0
    assert "kept" in capsys.readouterr().out
    assert (tmp_path / "centring.json").stat().st_mtime_ns == before
    assert run(monkeypatch, *arguments, "--seed", "1") == 0
    assert "kept" not in capsys.readouterr().out
    assert json.loads((tmp_path / "centring.json").read_text())["config"]["seed"] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["centering"], "there is no experiment 'centering'"),
        (["all", "--set", "instances=2"], "--set changes a field of one experiment"),
        (["centring", "--set", "instance=2"], "'instance=2' sets no field of centring"),
        (["centring", "--set", "instances"], "'instances' sets no field of centring"),
        (["centring", "--set", "instances=two"], "centring: instances: "),
        (["centring", "--set", "n_tasks=5"], "n_tasks is 5"),
        (["centring", "--unknown"], "--unknown"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    assert run(monkeypatch, *arguments, "--out", str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run(monkeypatch, "centring", "--out", str(tmp_path / "file" / "out"), *TINY) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_seed_option_counts_more_than_a_setting() -> None:
    assert configured(centring, ["seed=1", "seed=2"]) == centring.Config(seed=2)
    assert configured(centring, ["means=[0, 1]"]).means == (0.0, 1.0)


def test_every_experiment_has_configuration_result_and_a_question() -> None:
    for experiment in EXPERIMENTS:
        assert experiment.Config().seed == 0
        assert "findings" in dir(experiment.Result)
        assert callable(experiment.simulate)
        assert experiment.__doc__
