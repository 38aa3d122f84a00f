"""Pictures of the alignment show the numbers of the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from figures.report import alignment, spectrum
from figures.style import save
from training.errors import InputError
from training.keyed_file import save_keyed
from training.run_directory import ReportDirectory, write_json

BRANCHES = ("branch-1", "branch-2")


def statistic(rng: np.random.Generator) -> dict[str, Any]:
    low, median, high = np.sort(rng.uniform(0.1, 0.9, 3)).tolist()
    chance = {"low": low, "median": median, "high": high, "rank": float(rng.uniform())}
    return {"value": float(rng.uniform()), "halves": rng.uniform(size=2).tolist(), "span": chance}


def one_set(name: str, rng: np.random.Generator, directions: int) -> dict[str, Any]:
    values = rng.normal(size=5) * 100
    return {
        "name": name,
        "spectrum": {
            "values": values.tolist(),
            "error_bars": rng.uniform(0, 5, 5).tolist(),
            "converged": [True, True, True, False, True],
        },
        "random_vector": {"mean": 0.0011, "deviation": 0.0004},
        "task_gradient": {"mean": 0.5, "deviation": 0.2},
        "task_cosines": rng.uniform(size=6).tolist(),
        "axes": [
            {
                "name": kind,
                "directions": [
                    {"eigenspace": statistic(rng), "curvature": {"value": float(rng.normal()), "positive": None}}
                    for _ in range(directions)
                ],
            }
            for kind in ("raw", "double-centred")
        ],
        "branches": [{"branch": branch, "curvature": {"value": float(rng.normal())}} for branch in BRANCHES],
        "random_direction": {"value": 1e-4},
    }


def write_result(root: Path, sets: int = 2, directions: int = 3, dense: bool = False) -> tuple[ReportDirectory, Any]:
    rng = np.random.default_rng(0)
    found = [one_set(name, rng, directions) for name in ("chosen", "without-norms")[:sets]]
    arrays = {}
    for entry in found if dense else []:
        density = np.exp(-(np.linspace(-30, 30, 401) ** 2))  # falls to nothing at either end
        arrays[f"{entry['name']}_grid"] = np.linspace(-200, 300, 401)
        arrays |= {f"{entry['name']}_density": density, f"{entry['name']}_density_error": density / 3}
    directory = ReportDirectory(root)
    save_keyed(directory.arrays("alignment"), "", tasks=np.array(["a"]), **arrays)
    write_json(directory.values("alignment"), {"key": "", "result": {"sets": found}})
    return directory, found


def rows(panel: Axes, row: int, marker: str) -> list[float]:
    """Where the markers of this kind stand in a row."""
    lines = [line for line in panel.lines if line.get_marker() == marker]
    return [float(x) for line in lines for x, y in zip(*line.get_data(), strict=True) if y == -row]


@pytest.mark.parametrize("sets", [1, 2])
def test_dots_bands_and_ranks_are_those_of_the_file(tmp_path: Path, sets: int) -> None:
    directory, found = write_result(tmp_path, sets)
    panels = alignment.draw(directory).axes
    assert len(panels) == sets
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    assert names[:3] == ["random vector", "single task gradient", "raw 1"]
    assert names[-1] == "double-centred 3"
    for panel, entry in zip(panels, found, strict=True):
        assert rows(panel, 0, "o") == [0.0011]
        assert sorted(rows(panel, 1, "o")) == sorted([*entry["task_cosines"], 0.5])
        directions = [direction for axes in entry["axes"] for direction in axes["directions"]]
        ranks = [text.get_text() for text in panel.texts if text.xy[0] == 1 and text.get_text() != "rank"]
        for row, direction in enumerate(directions, start=2):
            own = direction["eigenspace"]
            assert rows(panel, row, "o") == [own["value"]]
            assert rows(panel, row, "|") == [own["span"]["median"], *own["halves"]]
            (band,) = [line for line in panel.lines if line.get_marker() == "None" and line.get_ydata()[0] == -row]
            assert list(band.get_xdata()) == [own["span"]["low"], own["span"]["high"]]
            assert ranks[row - 2] == f"{own['span']['rank']:.2f}"


def test_eigenvalues_and_curvatures_are_those_of_the_file(tmp_path: Path) -> None:
    directory, found = write_result(tmp_path)
    for panel, entry in zip(spectrum.draw(directory).axes, found, strict=True):
        expected = [*entry["spectrum"]["values"]]
        expected += [direction["curvature"]["value"] for axes in entry["axes"] for direction in axes["directions"]]
        expected += [branch["curvature"]["value"] for branch in entry["branches"]] + [1e-4]
        drawn = [rows(panel, row, "o") for row in range(len(expected))]
        assert drawn == [[value] for value in expected]
        hollow = [line.get_markerfacecolor() == "none" for line in panel.lines if line.get_marker() == "o"]
        assert hollow == [False, False, False, True] + [False] * (len(expected) - 4)


def test_the_density_stands_below_where_it_was_measured(tmp_path: Path) -> None:
    directory, _ = write_result(tmp_path, dense=True)
    panels = spectrum.draw(directory).axes
    assert len(panels) == 4
    (line,) = panels[1].lines
    np.testing.assert_allclose(line.get_ydata().max(), 1, rtol=0.01)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("sets", "directions"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("picture", [alignment, spectrum])
def test_no_writing_leaves_the_picture(tmp_path: Path, picture: Any, sets: int, directions: int, dense: bool) -> None:
    directory, _ = write_result(tmp_path, sets, directions, dense)
    figure: Figure = picture.draw(directory)
    box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    width, height = figure.get_size_inches()
    labels = [
        label.get_text()
        for panel in figure.axes
        for axis in (panel.xaxis, panel.yaxis)
        for label in axis.get_ticklabels()
    ]
    assert not any("$" in label for label in labels), "names are not read as formulas, so formulas are not either"
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) > 0


@pytest.mark.parametrize("picture", [alignment, spectrum])
def test_the_same_file_gives_the_same_bytes(tmp_path: Path, picture: Any) -> None:
    directory, _ = write_result(tmp_path, 1, 1)
    first, second = (save(picture.draw(directory), tmp_path / side, "same") for side in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_missing_measurement_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"alignment\.json is missing"):
        alignment.draw(ReportDirectory(tmp_path))
