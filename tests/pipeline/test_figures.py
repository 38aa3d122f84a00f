"""``python -m figures`` as it is typed, on a finished run."""

import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from figures.__main__ import main
from tests.pipeline.refusals import checked_line
from training.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path, smoke_run: Path) -> Path:
    """A copy of what the finished run's pictures are drawn from."""
    kept = shutil.ignore_patterns("*.safetensors", "base", "start", "pictures")
    return Path(shutil.copytree(smoke_run, tmp_path / "run", ignore=kept))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    handler = signal.getsignal(signal.SIGTERM)

    def typed(*words: object) -> None:
        monkeypatch.setattr(sys, "argv", ["figures", *map(str, words)])
        main()

    yield typed
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def refused(typed: Callable[..., None], capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line of a command that is refused."""

    def refused(*words: object) -> str:
        with pytest.raises(SystemExit) as ended:
            typed(*words)
        return checked_line(ended.value.code, capfd.readouterr().err)

    return refused


def test_all_draws_what_there_is_and_says_in_one_line_each_what_is_missing(
    run: Path, typed: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    typed("all", "--run", run, "--out", out)
    told = dict(line.split(": ", 1) for line in capfd.readouterr().out.splitlines())
    (map_of,) = out.glob("*/task_map.svg")
    assert map_of.with_suffix(".png").stat().st_size > 10_000
    assert str(map_of) in told["task_map"]
    assert "holds no report; run python -m diagnostics" in told["landscape"]
    page = (out / "gallery.html").read_text()
    assert f"python -m figures task_map --run {run} --out DIR" in page
    assert "landscape" not in page
    written = {path.suffix for path in out.rglob("*") if path.is_file()}
    assert written <= {".svg", ".png", ".md", ".tex", ".html"}


def test_what_one_run_lacks_costs_no_picture_of_another(
    run: Path, typed: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    RunDirectory(run).summary(".json").unlink()
    (partition,) = (path.parent.name for path in (tmp_path / "other").glob("arms/merit-1d/arm.json"))
    typed("arms", "--run", run, "--run", other, "--out", tmp_path / "out")
    told = capfd.readouterr().out
    assert f"arms: skipped: {run}" in told
    assert [path.parent.name for path in (tmp_path / "out").rglob("arms.svg")] == ["other"]
    for file in run.glob("partitions/*.json"):
        file.unlink()
    typed("task_map", "--run", run, "--run", other, "--out", tmp_path / "out")
    assert [path.parent.name for path in (tmp_path / "out").rglob("task_map.svg")] == [partition]


def test_drawing_again_or_alone_gives_the_same_bytes(run: Path, typed: Callable[..., None], tmp_path: Path) -> None:
    for name in ("one", "two"):
        typed("conflict_heat_map", "--run", run, "--out", tmp_path / name)
    drawn = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(drawn) == 2
    for path in drawn:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


def test_a_damaged_file_is_named_and_costs_no_other_picture(
    run: Path, typed: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (RunDirectory(run).summary(".json")).write_text("{")
    with pytest.raises(SystemExit) as ended:
        typed("all", "--run", run, "--out", tmp_path / "out")
    told = capfd.readouterr()
    assert "what was skipped is damaged" in checked_line(ended.value.code, told.err)
    assert "summary.json is not valid JSON" in told.out
    assert list((tmp_path / "out").glob("*/task_map.svg"))
    assert (tmp_path / "out" / "gallery.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("no_such_picture", "--run", "RUN"), "there is no picture or table 'no_such_picture'; name all, or one of "),
        (("all",), "give --run, --simulations or both"),
        (("all", "--run", "nowhere"), "--run nowhere is not a folder"),
        (("all", "--run", "RUN/mixture"), "is no run directory"),
        (("all", "--run", "RUN", "--run", "RUN"), "two runs are called run"),
        (("all", "--run", "RUN", "--arm", "merit-9d"), "--arm merit-9d: no run has such an arm"),
        (("task_map", "--simulations", "RUN"), "it takes --run"),
        (("landscape", "--run", "RUN"), "holds no report"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_exit_code_2(
    run: Path, refused: Callable[..., str], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in refused(*(word.replace("RUN", str(run)) for word in words), "--out", tmp_path / "out")


def test_an_out_that_is_a_file_is_one_line(run: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "give a path that can be used" in refused("task_map", "--run", run, "--out", tmp_path / "file")
