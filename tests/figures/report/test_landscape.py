"""The picture of the loss surfaces shows the numbers of the file."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.text import Text

from figures.report.landscape import draw
from figures.report.loss_surface import BANDS, contour_levels
from figures.style import save
from training.run_directory import ReportDirectory, write_json

POSITIONS = {
    "start": [0.0, 0.0],
    "branch-1": [1.97, -0.23],
    "branch-2": [1.08, 2.75],
    "merged": [1.5, 1.35],
    "joint": [3.48, -0.89],
    "joint-equal-steps": [2.05, -0.3],
}


def surface(plane: str, power: float = 1.0, offset: float = 1.6) -> dict[str, Any]:
    first, second = np.linspace(-1, 4.5, 7), np.linspace(-1.8, 3.7, 7)
    x, y = np.meshgrid(first, second)
    losses = offset + 0.1 * (((x - 2.6) ** 2 + 0.5 * y**2) ** power)
    row, column = np.unravel_index(losses.argmin(), losses.shape)
    return {
        "plane": plane,
        "first": first.tolist(),
        "second": second.tolist(),
        "losses": losses.tolist(),
        "positions": POSITIONS if plane == "pca" else {"merged": [1.75, 0.95]},
        "explained": [0.574, 0.25] if plane == "pca" else None,
        "minimum": {"position": [first[column], second[row]]},
    }


def write_result(root: Path, *surfaces: dict[str, Any]) -> ReportDirectory:
    directory = ReportDirectory(root)
    write_json(directory.values("landscape"), {"key": "", "result": {"surfaces": list(surfaces)}})
    return directory


def marked(figure: Figure, panel: int) -> list[list[float]]:
    return [np.ravel(line.get_xydata()).tolist() for line in figure.axes[panel].lines if len(line.get_xydata()) == 1]


def test_checkpoints_minimum_and_grid_stand_where_the_file_says(tmp_path: Path) -> None:
    surfaces = [surface("pca"), surface("random")]
    figure = draw(write_result(tmp_path, *surfaces))
    for panel, own in zip((0, 2), surfaces, strict=True):
        axes = figure.axes[panel]
        assert marked(figure, panel) == [own["minimum"]["position"], *own["positions"].values()]
        dots = next(line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 49)
        assert {tuple(dot) for dot in dots} == {(x, y) for x in own["first"] for y in own["second"]}
        assert [text.get_text() for text in axes.texts] == list(own["positions"])
        assert axes.get_xlim() == (own["first"][0], own["first"][-1])
    shapes = {line.get_marker() for line in figure.axes[0].lines if len(line.get_xydata()) == 1}
    assert {"*", "D", "o", "s", "P", "x"} == shapes
    assert figure.axes[0].get_xlabel() == "axis 1 (57 % of squared displacements)"


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_contours_are_those_of_the_losses_and_the_bar_says_their_heights(tmp_path: Path, power: float) -> None:
    own = surface("pca", power)
    figure = draw(write_result(tmp_path, own))
    filled = next(c for c in figure.axes[0].collections if isinstance(c, QuadContourSet) and c.filled)
    np.testing.assert_array_equal(filled.zmin, np.min(own["losses"]))
    np.testing.assert_array_equal(filled.zmax, np.max(own["losses"]))
    np.testing.assert_array_equal(filled.levels, contour_levels(np.array(own["losses"])))
    heights = [float(label.get_text()) for label in figure.axes[1].get_yticklabels()]
    assert len(set(heights)) == BANDS + 1
    np.testing.assert_allclose(heights, filled.levels, rtol=0.02)
    # Losses run along axis 1 within a row: the valley lies where the file has it, not mirrored.
    valley = filled.get_paths()[0].vertices
    assert valley[:, 0].mean() == pytest.approx(2.6, abs=0.5)
    assert valley[:, 1].mean() == pytest.approx(0.0, abs=0.5)


def test_contours_double_where_the_range_is_wide_and_are_even_elsewhere() -> None:
    wide, even = np.array([[0.5, 0.6], [0.55, 10.0]]), np.array([[0.5, 0.6], [0.7, 0.8]])
    steps = contour_levels(wide)[1:] - 0.5
    np.testing.assert_allclose(steps[1:] / steps[:-1], 2)
    np.testing.assert_allclose(np.diff(contour_levels(even)), 0.3 / BANDS)
    for losses in (wide, even):
        assert contour_levels(losses)[[0, -1]] == pytest.approx([losses.min(), losses.max()])
    assert len(set(contour_levels(np.ones((2, 2))))) == BANDS + 1


def test_points_without_a_loss_are_left_out_and_explained(tmp_path: Path) -> None:
    own = surface("pca")
    own["losses"][0][0] = None
    figure = draw(write_result(tmp_path, own))
    assert "Hatched" in figure.texts[1].get_text()
    filled = next(c for c in figure.axes[0].collections if isinstance(c, QuadContourSet) and c.filled)
    corner = (own["first"][0] + 1e-3, own["second"][0] + 1e-3)
    assert not any(path.contains_point(corner) for path in filled.get_paths())
    assert figure.axes[0].patch.get_hatch()
    save(figure, tmp_path, "landscape")


@pytest.mark.parametrize("planes", [("pca",), ("random",), ("pca", "random")])
@pytest.mark.parametrize("offset", [1.6, 1000.0])
def test_no_writing_leaves_the_picture_or_overlaps(tmp_path: Path, planes: tuple[str, ...], offset: float) -> None:
    directory = write_result(tmp_path, *(surface(plane, offset=offset) for plane in planes))
    figure = draw(directory)
    renderer = FigureCanvasAgg(figure).get_renderer()
    box = figure.get_tightbbox(renderer)
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) > 0
    panels = [axes.get_tightbbox(renderer) for axes in figure.axes[::2]]
    bars = [axes.get_tightbbox(renderer) for axes in figure.axes[1::2]]
    assert not any(one.overlaps(other) for one, other in combinations([*panels, *bars], 2))
    labels = [Text.get_window_extent(text, renderer) for text in figure.axes[0].texts]
    assert not any(one.overlaps(other) for one, other in combinations(labels, 2))


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    directory = write_result(tmp_path, surface("pca"), surface("random"))
    first, second = (save(draw(directory), tmp_path / side, "landscape") for side in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
