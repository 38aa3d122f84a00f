"""Pictures and tables of calibration show the numbers of the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from figures.report import calibration, calibration_table, sketch_fidelity, sketch_fidelity_table
from figures.table import MISSING
from training.errors import InputError, MissingInput
from training.run_directory import ReportDirectory, RunDirectory, write_json, write_text


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.04}


def write_report(root: Path, sizes: int = 3, tasks: int = 5, signal: bool = True) -> ReportDirectory:
    run = RunDirectory(root)
    write_text(run.config, 'seed = 0\n[start]\nmodel = "tiny"\n')
    write_json(run.mixture / "manifest.json", {"tasks": [{}] * tasks})
    directory = run.report("merit-1d")
    numbers = {"pearson": 0.99, "spearman": None, "mean_absolute": 0.0123, "root_mean_square": 0.02}
    result: dict[str, Any] = {
        "curve": [
            {
                "micro_batches": size,
                "examples": 4.0 * size,
                "with_rest": interval(0.5 + size / 100),
                "with_signal": interval(0.6 + size / 100) if signal else None,
            }
            for size in range(1, sizes + 1)
        ],
        "expected": [{"examples": float(n), "with_signal": interval(1 - 5 / n)} for n in (50, 1000)] if signal else [],
        "fidelity": {"tasks": ["t"] * tasks, "sketch_size": 65536, "sketch": numbers, "stride": numbers}
        if tasks
        else None,
    }
    write_json(directory.values("calibration"), {"result": result})
    full = np.linspace(-0.2, 0.8, max(tasks * (tasks - 1) // 2, 1))
    with open(directory.arrays("calibration"), "wb") as file:
        np.savez(file, full_cosines=full, sketch_cosines=full + 0.01, stride_cosines=full - 0.03)
    return directory


@pytest.mark.parametrize(("sizes", "signal"), [(1, True), (20, True), (3, False)])
def test_the_curves_are_those_of_the_file(tmp_path: Path, sizes: int, signal: bool) -> None:
    figure = calibration.draw(write_report(tmp_path, sizes, signal=signal))
    curves = {bars.get_label(): bars.lines[0].get_xydata() for bars in figure.axes[0].containers}
    numbers = np.arange(1, sizes + 1)
    np.testing.assert_allclose(curves["with the other examples"], np.column_stack([4 * numbers, 0.5 + numbers / 100]))
    if signal:
        np.testing.assert_allclose(curves["with the task's own"], np.column_stack([4 * numbers, 0.6 + numbers / 100]))
        np.testing.assert_allclose(curves["the same, extrapolated"], [[50, 0.9], [1000, 0.995]])
    assert len(curves) == (3 if signal else 1)
    box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    assert min(box.x0, box.y0, figure.get_size_inches()[0] - box.x1) >= 0


def test_points_of_the_fidelity_are_the_cosines_of_the_file(tmp_path: Path) -> None:
    figure = sketch_fidelity.draw(write_report(tmp_path))
    full = np.linspace(-0.2, 0.8, 10)
    for axes, shift in zip(figure.axes, (0.01, -0.03), strict=True):
        np.testing.assert_allclose(axes.lines[1].get_xydata(), np.column_stack([full, full + shift]))
        assert axes.get_title(loc="left").endswith("MAE 0.0123")


def test_tables_hold_the_files_numbers_beside_the_papers(tmp_path: Path) -> None:
    directory = write_report(tmp_path)
    ours, paper = calibration_table.tabulate(directory).blocks
    assert list(ours.rows[0]) == ["4", "0.510 [0.460, 0.550]", "0.610 [0.560, 0.650]"]
    assert list(ours.rows[-1]) == ["1,000, extrapolated", MISSING, "0.995 [0.945, 1.035]"]
    assert [list(row) for row in paper.rows] == [["50", "0.683", MISSING], ["200", "0.847", MISSING]]
    ours, paper = sketch_fidelity_table.tabulate(directory).blocks
    assert list(ours.rows[0]) == ["sketch of 65,536 entries", "0.9900", MISSING, "0.0123", "0.0200"]
    assert list(paper.rows[0])[1:] == ["0.9884", "0.9882", "0.0216", "0.0355"]


def test_what_was_not_measured_is_missing_and_what_is_damaged_is_refused(tmp_path: Path) -> None:
    for module in (calibration.draw, sketch_fidelity.draw, calibration_table.tabulate, sketch_fidelity_table.tabulate):
        with pytest.raises(MissingInput, match="is missing"):
            module(ReportDirectory(tmp_path / "nothing"))
    with pytest.raises(MissingInput, match="holds no whole gradients"):
        sketch_fidelity.draw(write_report(tmp_path / "without", tasks=0))
    directory = write_report(tmp_path / "damaged")
    directory.arrays("calibration").write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be read"):
        sketch_fidelity.draw(directory)
