import io
import json
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from diagnostics.checkpoints import Checkpoints
from diagnostics.report.contents import SECTIONS
from diagnostics.report.publish import publish
from diagnostics.result import save_result
from diagnostics.settings import load_preset
from diagnostics.subject import Subject
from diagnostics.suite import DIAGNOSTICS
from tests.diagnostics.report.measured import losses
from training.mixture import Task
from training.run_directory import ReportDirectory, RunDirectory

ENVIRONMENT = {
    "python": "3.12",
    "platform": "Linux",
    "processor": "one",
    "cores": 2,
    "packages": {"torch": "2.10", "reasoning-gym": None},
    "commit": "abc",
    "command": ["/somewhere/diagnostics/__main__.py", "runs/my demo", "--quick"],
}


def subject_of(root: Path) -> Subject:
    run = RunDirectory(root / "run")
    checkpoints = Checkpoints(
        start=run.start,
        branches=(run.branch("aaa") / "model", run.branch("bbb") / "model"),
        weights=(0.25, 0.75),
        merged=run.arm("merit-1d") / "model",
        joint=root / "elsewhere",
    )
    tasks = tuple(
        Task(name, run.mixture / name, {}, "text", {"test": "f" * 64}, {"test": items})
        for name, items in (("gcd", 4), ("lcm", 9), ("coin_flip", 200))
    )
    return Subject("merit-1d", checkpoints, tasks, "cross-entropy", "float32", ("*",), None, torch.device("cpu"), run)


def publish_into(root: Path) -> tuple[ReportDirectory, str]:
    """A report of losses alone below ``root``, and what the terminal showed."""
    directory, result, told = ReportDirectory(root / "report"), losses(), io.StringIO()
    save_result(directory, "0" * 64, result, {"models": np.array(["start"])})
    console = Console(file=told, markup=False, emoji=False, highlight=False, soft_wrap=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diagnostics.report.publish.describe_environment", lambda: ENVIRONMENT)
        publish(subject_of(root), directory, "quick", load_preset("quick", ["probe.per_task=6"]), [result], console)
    return directory, told.getvalue()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportDirectory, str]:
    return publish_into(tmp_path_factory.mktemp("published"))


def test_three_files_and_the_terminal_tell_the_same(published: tuple[ReportDirectory, str]) -> None:
    directory, told = published
    page, text = (directory.page(suffix).read_text() for suffix in (".html", ".md"))
    values = json.loads(directory.page(".json").read_text())

    assert values["verdict"]["answer"] == "undecided"
    assert values["triple"]["merged"] == {"value": 1.5, "low": 1.45, "high": 1.55}
    assert values["results"]["losses"] == losses().model_dump(mode="json")
    assert values["keys"] == {"losses": "0" * 64}
    assert values["subject"]["models"]["merged"] == "arms/merit-1d/model"
    assert values["subject"]["models"]["joint"] == str(directory.root.parent / "elsewhere")
    assert values["settings"]["probe"]["per_task"] == 6
    for shown in (page, text, told):
        assert "1.500" in shown
        assert "[1.450, 1.550]" in shown
        assert "undecided" in shown
        assert "Not measured: gain check, connectivity" in shown
    for shown in (unescape(page), text):
        assert "python -m diagnostics 'runs/my demo' --quick" in shown
    assert "1d: undecided" in told
    assert str(directory.page(".html")) in told
    assert all(len(line) <= 80 for line in told.splitlines() if not line.startswith("report:"))


def test_items_are_those_that_were_measured(published: tuple[ReportDirectory, str]) -> None:
    directory, _ = published
    lines = directory.page(".md").read_text().splitlines()
    assert {"| gcd | 4 |", "| lcm | 6 |", "| coin_flip | 6 |"} <= set(lines)


def test_every_picture_that_the_pages_show_was_drawn(published: tuple[ReportDirectory, str]) -> None:
    directory, _ = published
    shown = [picture.name for picture in SECTIONS["losses"](losses()).pictures]
    for name in shown:
        assert f"](pictures/{name}.png)" in directory.page(".md").read_text()
    drawn = {path.name for path in directory.pictures.iterdir()}
    assert drawn == {f"{name}{suffix}" for name in shown for suffix in (".png", ".svg")}


def test_the_same_results_give_the_same_bytes(published: tuple[ReportDirectory, str]) -> None:
    directory, _ = published
    first = {path: path.read_bytes() for path in directory.root.rglob("*") if path.suffix in (".html", ".md", ".svg")}
    publish_into(directory.root.parent)
    assert {path: path.read_bytes() for path in first} == first
    assert len(first) == 4


def test_every_diagnostic_has_its_place_in_the_report() -> None:
    assert DIAGNOSTICS.keys() <= SECTIONS.keys()
