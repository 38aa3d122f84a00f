"""``training compare`` as it is typed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.recorded_runs import write_run
from training.__main__ import main

ARMS = {"joint": 0.5, "joint-equal-steps-2": 0.5, "merit-1d": 0.4, "random-2": 0.45, "random-2-s1": 0.46}


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [write_run(tmp_path / f"run{seed}", ARMS, seed=seed, branches={"merit-1d": 2}) for seed in range(5)]


def test_the_table_fits_a_terminal_and_the_file_holds_what_it_says(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    controls = ("joint", "joint-equal-steps-2", "random-2")
    asked = [part for control in controls for part in ("--against", control)]
    out = tmp_path / "comparison.json"
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(
        sys, "argv", ["training", "compare", *map(str, folders), "--arm", "merit-1d", *asked, "--json", str(out)]
    )
    main()
    shown = capsys.readouterr().out
    table = shown[: shown.index("Differences are")].splitlines()
    assert max(map(len, table)) <= 80
    assert "…" not in shown
    for control, row in zip(controls, json.loads(out.read_text())["rows"], strict=True):
        interval = row["difference"]["interval"]
        (line,) = (line for line in table if line.split()[:1] == [control])
        assert f"{interval['value']:+.3f} [{interval['low']:+.3f}, {interval['high']:+.3f}]" in line
        assert f"{row['signed_rank_holm']:.3f}" in line
        for verdict in row["verdicts"]:
            assert f"- {verdict}" in shown


def test_a_run_without_the_arm_is_one_line_and_exit_code_2(folders: list[Path], told: Callable[..., str]) -> None:
    line = told("compare", *folders, "--arm", "merit-2d", "--against", "joint")
    assert f"run {folders[0]} has no arm 'merit-2d'" in line
    assert "merit-1d" in line
