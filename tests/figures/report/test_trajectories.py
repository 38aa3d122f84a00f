"""Paths of branches are drawn from the coordinates of the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from figures.report.trajectories import draw
from training.errors import MissingInput
from training.run_directory import ReportDirectory, write_json


def path(model: str, points: list[list[float]]) -> dict[str, Any]:
    return {"model": model, "steps": list(range(1, len(points) + 1)), "points": points, "inside": [0.75] * len(points)}


def write_result(root: Path, branches: int, snapshots: int) -> tuple[ReportDirectory, list[dict[str, Any]]]:
    rng = np.random.default_rng(branches)
    names = [*(f"branch-{number + 1}" for number in range(branches)), "joint", "joint-equal-steps", "average"]
    models = [path(name, rng.normal(size=(snapshots, 2)).cumsum(axis=0).tolist()) for name in names]
    directory = ReportDirectory(root)
    write_json(directory.values("displacement"), {"result": {"paths": {"explained": [0.61, 0.2], "models": models}}})
    return directory, models


@pytest.mark.parametrize(("branches", "snapshots"), [(2, 1), (4, 8), (16, 3)])
def test_every_path_leads_from_the_start_through_its_points(tmp_path: Path, branches: int, snapshots: int) -> None:
    directory, models = write_result(tmp_path, branches, snapshots)
    figure = draw(directory)
    axes = figure.axes[0]
    lines = [line for line in axes.lines if len(line.get_xydata()) == snapshots + 1 and line.get_marker() != "None"]
    drawn = {line.get_xydata()[1:].tobytes() for line in lines}
    assert drawn == {np.array(model["points"]).tobytes() for model in models}
    assert all((line.get_xydata()[0] == 0).all() for line in lines)
    marks = {
        line.get_marker(): np.ravel(line.get_xydata()).tolist() for line in axes.lines if len(line.get_xydata()) == 1
    }
    assert marks == {"D": models[-1]["points"][-1], "*": [0, 0]}
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    points = np.concatenate([model["points"] for model in models])
    assert left < points[:, 0].min() < points[:, 0].max() < right
    assert low < points[:, 1].min() < points[:, 1].max() < high
    across, up = axes.get_window_extent().size
    assert (right - left) / across == pytest.approx((high - low) / up)
    box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0


@pytest.mark.parametrize("result", [{}, {"paths": None}])
def test_a_result_without_paths_lacks_input(tmp_path: Path, result: dict[str, None]) -> None:
    directory = ReportDirectory(tmp_path)
    write_json(directory.values("displacement"), {"result": result})
    with pytest.raises(MissingInput, match="holds no paths of branches; run python -m diagnostics again"):
        draw(directory)
