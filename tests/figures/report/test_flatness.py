"""The picture of weight noise shows the numbers of the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.report.flatness import draw
from figures.style import save
from training.run_directory import ReportDirectory, write_json

SIGMAS = [0.02, 0.05, 0.1]


def interval(value: float, width: float) -> dict[str, float]:
    return {"value": value, "low": value - width, "high": value + width}


def curve(model: str, scale: float, lost: tuple[int, ...] = ()) -> dict[str, Any]:
    increases = [None if i in lost else interval(scale * s**2, 0.1 * scale * s) for i, s in enumerate(SIGMAS)]
    overflowed = [int(i in lost) for i in range(3)]
    area = None if 0 in lost else interval(scale / 3000, scale / 30000)
    return {"model": model, "increases": increases, "overflowed": overflowed, "area": area}


def write_result(root: Path, grids: list[dict[str, Any]]) -> ReportDirectory:
    directory = ReportDirectory(root)
    write_json(directory.values("flatness"), {"key": "", "result": {"grids": grids}})
    return directory


def grid(kind: str, *curves: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "sigmas": SIGMAS, "curves": list(curves)}


def both(scale: float = 70.0) -> list[dict[str, Any]]:
    models = ("merged", "joint", "joint-equal-steps")
    return [
        grid("isotropic", *(curve(model, scale * (i + 1)) for i, model in enumerate(models))),
        grid("filter-normalised", *(curve(model, scale / (i + 1)) for i, model in enumerate(models))),
    ]


def line_of(figure: Figure, panel: int, model: str) -> Line2D:
    return next(line for line in figure.axes[panel].lines if str(line.get_label()).startswith(f"{model}, "))


def test_curves_and_bars_are_the_increases_of_the_file(tmp_path: Path) -> None:
    grids = both()
    figure = draw(write_result(tmp_path, grids))
    assert len(figure.axes) == 2
    for panel, own in enumerate(grids):
        for number, expected in enumerate(own["curves"]):
            line = line_of(figure, panel, expected["model"])
            np.testing.assert_array_equal(line.get_xdata(), [0, *SIGMAS])
            np.testing.assert_array_equal(line.get_ydata(), [0, *(rise["value"] for rise in expected["increases"])])
            bars = np.array(figure.axes[panel].collections[number].get_segments())
            np.testing.assert_allclose(bars[:, 0, 1], [rise["low"] for rise in expected["increases"]])
            np.testing.assert_allclose(bars[:, 1, 1], [rise["high"] for rise in expected["increases"]])
            np.testing.assert_allclose(bars[:, 0, 0], SIGMAS, atol=0.002)
        assert figure.axes[panel].get_title(loc="left") == f"{own['kind']} noise"


def test_the_legend_says_the_areas(tmp_path: Path) -> None:
    figure = draw(write_result(tmp_path, both()))
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "merged, area 0.023",
        "joint, area 0.047",
        "joint-equal-steps, area 0.07",
    ]


def test_losses_that_overflowed_are_marked_on_the_rim_and_explained(tmp_path: Path) -> None:
    grids = [grid("isotropic", curve("merged", 70.0, (2,)), curve("joint", 70.0, (0, 1, 2)))]
    figure = draw(write_result(tmp_path, grids))
    (panel,) = figure.axes
    np.testing.assert_array_equal(line_of(figure, 0, "merged").get_xdata(), [0, 0.02, 0.05])
    marked = [line.get_xdata() for line in panel.lines if list(line.get_ydata()) and set(line.get_ydata()) == {1.0}]
    assert [list(marks) for marks in marked] == [[0.1], SIGMAS]
    assert "infinite or no number" in " ".join(figure.texts[1].get_text().split())
    legend = panel.get_legend()
    assert legend is not None
    assert legend.get_texts()[1].get_text() == "joint, area unknown"
    save(figure, tmp_path, "flatness")


@pytest.mark.parametrize("scale", [1e-3, 70.0, 1e5])
def test_no_writing_leaves_the_picture_and_equal_files_give_equal_bytes(tmp_path: Path, scale: float) -> None:
    directory = write_result(tmp_path, both(scale))
    figure = draw(directory)
    box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) > 0
    first, second = (save(draw(directory), tmp_path / side, "flatness") for side in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
