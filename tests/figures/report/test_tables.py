"""Tables of a report say what its files say, beside the paper's numbers."""

from pathlib import Path
from typing import Any

import pytest

from figures.origin import PAPER_VISION
from figures.report import alignment_table, interpolation_table
from figures.table import MISSING, latex, markdown
from training.errors import MissingInput
from training.run_directory import ReportDirectory, RunDirectory, write_json, write_text


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.02}


def statistic(value: float) -> dict[str, Any]:
    chance = {"low": 0.1, "median": 0.2, "high": 0.3}
    return {"value": value, "span": {**chance, "rank": value / 2}, "permutation": {**chance, "rank": value / 4}}


def write_report(root: Path, name: str, result: Any) -> ReportDirectory:
    run = RunDirectory(root)
    write_text(run.config, 'seed = 3\n[start]\nmodel = "tiny"\n')
    write_json(run.mixture / "manifest.json", {"tasks": [{}, {}]})
    directory = run.report("merit-1d")
    write_json(directory.values(name), {"key": "", "result": result})
    return directory


def found(name: str, scale: float) -> dict[str, Any]:
    def axes(kind: str, value: float) -> dict[str, Any]:
        direction = {"eigenspace": statistic(value), "gaussian_z": 1000 * value}
        names = ("largest", "mean_nearest", "leading")
        return {"name": kind, "directions": [direction], **{key: statistic(value + 0.1) for key in names}}

    return {
        "name": name,
        "entries": 12345,
        "random_vector": {"mean": 0.001, "deviation": 0.0002},
        "task_gradient": {"mean": 0.5, "deviation": 0.125},
        "axes": [axes("raw", 0.4 * scale), axes("double-centred", 0.3 * scale)],
    }


def test_paths_have_their_ends_lowest_point_and_barrier(tmp_path: Path) -> None:
    paths = [
        {"ends": ["branch-1", "branch-2"], "losses": [1.0, 0.5, 2.0], "barrier": interval(0.25), "dip": interval(1.0)},
        {"ends": ["branch-1", "merged"], "losses": [1.0, 1.5, 0.25], "barrier": interval(0.0), "dip": interval(-0.5)},
    ]
    table = interpolation_table.tabulate(write_report(tmp_path, "connectivity", {"paths": paths}))
    ours, paper = table.blocks
    assert ours.origin == "Measured here: tiny, 2 tasks, seed 3, arm merit-1d"
    assert list(ours.rows[0]) == [
        "branch-1 → branch-2",
        "1.0000",
        "2.0000",
        "0.5000",
        "0.50",
        "0.2500 [0.2400, 0.2700]",
        "1.0000 [0.9900, 1.0200]",
    ]
    assert list(ours.rows[1])[3:5] == ["0.2500", "1.00"]
    assert "3 here, 21 in the paper" in " ".join(table.note.split())
    assert paper.origin == PAPER_VISION
    assert [cell for cell in paper.rows[0][1:] if cell != MISSING] == ["0"]


def test_alignment_has_every_tier_centring_and_null(tmp_path: Path) -> None:
    sets = [found("chosen", 1.0), found("without-norms", 0.5)]
    table = alignment_table.tabulate(write_report(tmp_path, "alignment", {"sets": sets}))
    chosen, without, paper = table.blocks
    assert chosen.origin.endswith("all chosen parameters (12,345 entries)")
    rows = [list(row) for row in chosen.rows]
    assert rows[0][1:] == ["1.0e-03 ± 2.0e-04", "0.500 ± 0.125", "0.400", "0.300"]
    assert [row[3:] for row in rows[1:4]] == [["0.200", "0.150"], ["0.100", "0.075"], ["400", "300"]]
    assert [row[3:] for row in rows[4:13:3]] == [["0.500", "0.400"]] * 3
    assert rows[-1][3:] == ["60.0", "66.4"]
    assert without.rows[0][3] == "0.200"
    assert list(paper.rows[0])[1:3] == ["5.6e-5", "0.091 ± 0.023"]
    assert markdown(table).count("|  |") == 3
    assert r"$\pm$" in latex(table)


@pytest.mark.parametrize("module", [interpolation_table, alignment_table])
def test_what_was_not_measured_is_missing(tmp_path: Path, module: Any) -> None:
    with pytest.raises(MissingInput, match="is missing"):
        module.tabulate(ReportDirectory(tmp_path))
