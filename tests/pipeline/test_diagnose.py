"""``python -m diagnostics`` on a finished run, on its models given one by one, and on what it must refuse."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diagnostics.__main__ import main
from tests.pipeline.refusals import checked_line
from training.run_directory import BranchDirectory, ReportDirectory, RunDirectory

SMALL = ("--quick", "--set", "connectivity.points=3", "--set", "probe.per_task=3")
TWO = ("--only", "losses", "--only", "connectivity")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Runs the command in this process."""
    handler = signal.getsignal(signal.SIGTERM)
    threads = torch.get_num_threads()

    def run(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["diagnostics", *map(str, arguments)])
        main()

    yield run
    signal.signal(signal.SIGTERM, handler)
    torch.set_num_threads(threads)


@pytest.fixture
def refused(here: Callable[..., None], capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line of a command that is refused."""

    def run(*arguments: object) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            here(*arguments)
        return checked_line(ended.value.code, capfd.readouterr().err)

    return run


def one_by_one(run: Path, arm: str = "merit-1d") -> dict[str, Path]:
    """Model folders of an arm by option."""
    paths = RunDirectory(run)
    record = json.loads((paths.arm(arm) / "arm.json").read_text())
    first, second = (BranchDirectory(paths.branch(spec)).model for spec in record["branches"])
    return {
        "--start": paths.start,
        "first": first,
        "second": second,
        "--merged": paths.arm(arm) / "model",
        "--data": paths.mixture,
    }


def options(folders: dict[str, Path], out: Path) -> list[object]:
    flat: list[object] = ["--out", out]
    for option, folder in folders.items():
        flat += [option if option.startswith("--") else "--branch", folder]
    return flat


def values(directory: ReportDirectory, name: str) -> dict[str, object]:
    result = json.loads(directory.values(name).read_text())["result"]
    del result["cost"]
    return result


def test_models_given_one_by_one_measure_as_their_run(
    smoke_run: Path, tmp_path: Path, here: Callable[..., None]
) -> None:
    run, arm = tmp_path / "run", "merit-1d-uniform"
    shutil.copytree(smoke_run, run)
    here(run, "--arm", arm, *SMALL, *TWO)
    own = RunDirectory(run).report(arm)
    assert own.page(".html").is_file()

    here(*options(one_by_one(run, arm), tmp_path / "alone"), *SMALL, *TWO)
    theirs = ReportDirectory(tmp_path / "alone")
    assert values(theirs, "connectivity") == values(own, "connectivity")
    shared = values(own, "losses")
    for entry in values(theirs, "losses")["models"]:  # pyrefly: ignore
        assert entry in shared["models"]  # pyrefly: ignore


def test_what_stands_is_not_measured_again(smoke_run: Path, tmp_path: Path, here: Callable[..., None]) -> None:
    command = (smoke_run, "--out", tmp_path, *SMALL, *TWO)
    here(*command)
    directory = ReportDirectory(tmp_path)
    before = {name: directory.values(name).stat().st_mtime_ns for name in ("losses", "connectivity")}
    here(*command, "--set", "connectivity.points=5")
    assert directory.values("losses").stat().st_mtime_ns == before["losses"]
    assert directory.values("connectivity").stat().st_mtime_ns != before["connectivity"]
    damaged = directory.arrays("losses")
    damaged.write_bytes(damaged.read_bytes()[:-40])
    here(*command, "--set", "connectivity.points=5")
    assert directory.values("losses").stat().st_mtime_ns != before["losses"]


def test_everything_is_measured_and_told(
    smoke_run: Path, tmp_path: Path, here: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    here(smoke_run, "--out", tmp_path, *SMALL)
    printed, complained = capfd.readouterr()
    assert complained == ""
    page = ReportDirectory(tmp_path).page(".html").read_text()
    for heading in ("Linear connectivity", "Gain: theory against model"):
        assert heading in page
    assert "Not measured" not in printed


@pytest.fixture
def folders(smoke_run: Path, tmp_path: Path) -> dict[str, Path]:
    """Models of the run, the first branch a copy that a test may change."""
    own = one_by_one(smoke_run)
    shutil.copytree(own["first"], tmp_path / "branch")
    return own | {"first": tmp_path / "branch"}


def changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_models_of_another_shape_are_refused(
    folders: dict[str, Path], tmp_path: Path, refused: Callable[..., str]
) -> None:
    name = "model.norm.weight"
    changed(folders["first"], lambda tensors: tensors.update({name: torch.ones(3)}))
    line = refused(*options(folders, tmp_path / "out"))
    assert name in line
    assert "checkpoints of one model" in line
    changed(folders["first"], lambda tensors: tensors.pop(name))
    assert f"lacks tensor {name!r}" in refused(*options(folders, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_finite_are_refused(
    folders: dict[str, Path], tmp_path: Path, refused: Callable[..., str]
) -> None:
    changed(folders["first"], lambda tensors: tensors["model.norm.weight"].fill_(float("nan")))
    line = refused(*options(folders, tmp_path / "out"), *TWO)
    assert "not finite" in line
    assert str(folders["first"]) in line


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--weight", 1), "1 weights for 2 branches"),
        (("--weight", 0.5, "--weight", 0.6), "sum to 1.1"),
        (("--only", "luck"), "no diagnostic 'luck'"),
        (("--set", "connectivity.points=4"), "take 5"),
        (("--set", "connectivity.pints=5"), "unknown key connectivity.pints"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    folders: dict[str, Path], tmp_path: Path, refused: Callable[..., str], more: tuple[object, ...], told: str
) -> None:
    assert told in refused(*options(folders, tmp_path / "out"), *more)
    assert not (tmp_path / "out").exists()


def test_a_missing_option_is_named(folders: dict[str, Path], tmp_path: Path, refused: Callable[..., str]) -> None:
    for option in ("--start", "--merged", "--data"):
        some = {name: folder for name, folder in folders.items() if name != option}
        assert f"{option} is missing" in refused(*options(some, tmp_path / "out"))
    assert "exclude each other" in refused(tmp_path, *options(folders, tmp_path / "out"))
    alone = {name: folder for name, folder in folders.items() if name != "second"}
    assert "two or more" in refused(*options(alone, tmp_path / "out"))


def test_folders_without_a_model_are_refused(
    folders: dict[str, Path], tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "empty").mkdir()
    line = refused(*options(folders | {"--merged": tmp_path / "empty"}, tmp_path / "out"))
    assert "merged: no config.json" in line


def test_data_that_are_too_few_are_refused(
    folders: dict[str, Path], tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "few.jsonl").write_text('{"prompt": "1", "response": "2"}\n')
    assert "'few'" in refused(*options(folders | {"--data": tmp_path / "few.jsonl"}, tmp_path / "out"))
    (tmp_path / "few.jsonl").write_text("")
    assert "is empty" in refused(*options(folders | {"--data": tmp_path / "few.jsonl"}, tmp_path / "out"))
    missing = refused(*options(folders | {"--data": tmp_path / "none.jsonl"}, tmp_path / "out"))
    assert "no such file" in missing


def test_runs_without_a_merged_arm_are_refused(smoke_run: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "no run directory" in refused(tmp_path)
    assert "merges nothing" in refused(smoke_run, "--arm", "joint")
    assert "has no arm 'merit-9d'" in refused(smoke_run, "--arm", "merit-9d")


def test_the_command_is_a_process_that_ends_with_2_when_it_is_refused() -> None:
    done = subprocess.run([sys.executable, "-m", "diagnostics", "--luck"], capture_output=True, text=True)
    assert "--luck" in checked_line(done.returncode, done.stderr)
