"""Pictures of displacements show the numbers of the file."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from figures.report import displacement_by_layer, displacement_over_training
from training.run_directory import ReportDirectory, write_json

MODELS = ("branch-1", "branch-2", "merged", "joint", "average")


def write_result(root: Path, layers: int, head: bool = False) -> tuple[ReportDirectory, dict[str, Any]]:
    rng = np.random.default_rng(layers)
    names = ["model.embed_tokens", *(f"model.layers.{number}" for number in range(layers)), "model.norm"]
    parts = [
        {
            "name": name,
            "squared_norms": dict(zip(MODELS, rng.uniform(0.1, 4, len(MODELS)).tolist(), strict=True)),
            "agreement": float(rng.uniform(-0.5, 1)),
            "cancelled": 0.3,
        }
        for name in names + ["lm_head"] * head
    ]
    parts[-1]["agreement"] = None
    courses = [
        {"model": "branch-1", "steps": [10, 20], "norms": [1.0, 2.0]},
        {"model": "branch-2", "steps": [10], "norms": [1.5]},
        {"model": "joint", "steps": [10, 20, 30], "norms": [1.0, 2.5, 3.0]},
        {"model": "average", "steps": [10, 20], "norms": [0.7, 1.2]},
    ]
    result = {"norms": dict.fromkeys(MODELS, 1.0), "layers": parts, "courses": courses}
    directory = ReportDirectory(root)
    write_json(directory.values("displacement"), {"key": "", "result": result})
    return directory, result


def drawn(figure: Figure, axes: int, label: str) -> np.ndarray:
    """Heights of all lines of one colour, the labelled one's, from left to right."""
    lines = figure.axes[axes].get_lines()
    colour = next(line.get_color() for line in lines if line.get_label() == label)
    points = np.concatenate([line.get_xydata() for line in lines if line.get_color() == colour and line.get_label()])
    return points[np.argsort(points[:, 0], kind="stable"), 1]


@pytest.mark.parametrize(("layers", "head"), [(2, False), (30, False), (80, True)])
def test_profiles_are_the_norms_of_the_layers(tmp_path: Path, layers: int, head: bool) -> None:
    directory, result = write_result(tmp_path, layers, head)
    figure = displacement_by_layer.draw(directory)
    for model in ("merged", "joint"):
        expected = [part["squared_norms"][model] ** 0.5 for part in result["layers"]]
        np.testing.assert_allclose(drawn(figure, 1, model), expected)
    cosines = np.concatenate([line.get_xydata() for line in figure.axes[0].get_lines() if line.get_marker() == "s"])
    known = [part["agreement"] for part in result["layers"] if part["agreement"] is not None]
    np.testing.assert_allclose(cosines[np.isfinite(cosines[:, 1]), 1], known)
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["branches", "merged", "joint"]


@pytest.mark.parametrize(("layers", "head"), [(2, False), (30, False), (80, True)])
def test_names_below_the_layers_do_not_overlap(tmp_path: Path, layers: int, head: bool) -> None:
    figure = displacement_by_layer.draw(write_result(tmp_path, layers, head)[0])
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [label.get_window_extent(renderer) for label in figure.axes[0].get_xticklabels() if label.get_text()]
    assert len(boxes) >= 4
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    assert boxes[0].x0 >= 0
    assert boxes[-1].x1 <= figure.bbox.width


def test_courses_are_those_of_the_file_from_the_start_on(tmp_path: Path) -> None:
    directory, result = write_result(tmp_path, 2)
    lines = displacement_over_training.draw(directory).axes[0].get_lines()
    for line, course in zip(lines, result["courses"], strict=True):
        assert line.get_xdata().tolist() == [0, *course["steps"]]
        assert line.get_ydata().tolist() == [0, *course["norms"]]
