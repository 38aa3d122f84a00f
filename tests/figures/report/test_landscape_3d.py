"""The basins show the numbers of the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from figures.report.landscape_3d import draw
from figures.report.loss_surface import BANDS, contour_levels
from figures.style import save
from training.errors import MissingInput
from training.run_directory import ReportDirectory, write_json

POSITIONS = {"start": [0.0, 0.0], "branch-1": [1.0, 1.0], "branch-2": [2.0, 0.5], "merged": [1.5, 0.75]}


def surface(plane: str, highest: float = 3.0, rows: int = 4) -> dict[str, Any]:
    """A loss that is linear in axis 1 except for one high corner, and does not depend on axis 2 elsewhere."""
    first, second = [0.0, 1.0, 2.0], np.linspace(0.0, 1.0, rows).tolist()
    losses = [[1.0, 1.25, 1.5] for _ in second]
    losses[-1][0] = highest
    return {
        "plane": plane,
        "first": first,
        "second": second,
        "losses": losses,
        "positions": POSITIONS if plane == "pca" else {"merged": [1.0, 0.5]},
        "explained": [0.574, 0.25] if plane == "pca" else None,
    }


def write_result(root: Path, *surfaces: dict[str, Any]) -> ReportDirectory:
    directory = ReportDirectory(root)
    write_json(directory.values("landscape"), {"key": "", "result": {"surfaces": list(surfaces)}})
    return directory


def corners(figure: Figure, panel: int) -> np.ndarray:
    """The corners [n, 3] of all facets."""
    (facets,) = figure.axes[panel].collections
    return np.concatenate([face.reshape(-1, 3) for face in np.array(facets._faces)])


@pytest.mark.parametrize("highest", [3.0, 300.0])
def test_facets_have_their_corners_at_the_losses_of_the_file(tmp_path: Path, highest: float) -> None:
    own = surface("pca", highest)
    figure = draw(write_result(tmp_path, own))
    levels = contour_levels(np.array(own["losses"]))
    losses = {
        (x, y): own["losses"][row][column]
        for row, y in enumerate(own["second"])
        for column, x in enumerate(own["first"])
    }
    found = corners(figure, 0)
    assert {(x, y) for x, y, _ in found} == losses.keys()
    for x, y, height in found:
        assert np.interp(height, np.arange(BANDS + 1), levels) == pytest.approx(losses[x, y])
    ticks = [float(label.get_text()) for label in figure.axes[0].get_zticklabels()]
    np.testing.assert_allclose(ticks, levels, atol=0.05, rtol=0.02)


def test_checkpoints_stand_on_the_surface(tmp_path: Path) -> None:
    own = surface("pca")
    figure = draw(write_result(tmp_path, own))
    levels = contour_levels(np.array(own["losses"]))
    stand = {tuple(np.ravel(line.get_data_3d())[:2]): np.ravel(line.get_data_3d())[2] for line in figure.axes[0].lines}
    assert stand.keys() == {tuple(place) for place in POSITIONS.values()}
    assert np.interp(stand[2.0, 0.5], range(BANDS + 1), levels) == pytest.approx(1.5)
    assert np.interp(stand[1.5, 0.75], range(BANDS + 1), levels) == pytest.approx(1.375)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["start", "branches", "merged"]


def test_a_point_without_a_loss_leaves_a_hole_that_is_explained_and_bytes_repeat(tmp_path: Path) -> None:
    own = surface("pca")
    own["losses"][-1][0] = None
    directory = write_result(tmp_path, own)
    figure = draw(directory)
    assert (0.0, 1.0) not in {(x, y) for x, y, _ in corners(figure, 0)}
    assert "Holes" in figure.texts[1].get_text()
    assert len(corners(figure, 0)) == 4 * (2 * 3 - 1)
    first, second = (save(draw(directory), tmp_path / side, "basin") for side in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize("planes", [("pca",), ("pca", "random")])
def test_no_writing_leaves_the_picture(tmp_path: Path, planes: tuple[str, ...]) -> None:
    directory = write_result(tmp_path, *(surface(plane, 1000.0) for plane in planes))
    figure = draw(directory)
    box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0


def test_a_report_without_a_landscape_lacks_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"landscape\.json is missing"):
        draw(ReportDirectory(tmp_path))
