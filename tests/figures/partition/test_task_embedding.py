"""Tasks by t-SNE and along principal axes: clusters of the file's cosines, coloured by the mixture's kinds."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from figures.partition.task_embedding import draw, embedded, fitting_perplexity, principal_plane
from training.errors import MissingInput
from training.run_directory import RunDirectory, write_json

KINDS = ("arithmetic", "logic", "a kind with a very long name indeed")


def clustered(n: int) -> np.ndarray:
    """Cosines of tasks in as many clusters as kinds."""
    rng = np.random.default_rng(n)
    centres = 3 * np.eye(8)[: len(KINDS)]
    vectors = centres[np.arange(n) % len(KINDS)] + 0.5 * rng.normal(size=(n, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


def write_run(root: Path, n: int, kinds: bool = True) -> RunDirectory:
    names = [f"{number}-" + "wide_name" * 4 for number in range(n)]
    run = RunDirectory(root)
    flips = np.linspace(0, 0.5, n).tolist()
    write_json(run.conflicts, {"tasks": names, "cosine": clustered(n).tolist()})
    write_json(run.partition("merit-1d"), {"groups": [names[::2], names[1::2]], "flip_probability": flips})
    entries = [
        {"name": name, **({"kind": KINDS[number % len(KINDS)]} if kinds else {})} for number, name in enumerate(names)
    ]
    write_json(run.mixture / "manifest.json", {"tasks": entries})
    return run


def shown(figure: Figure, panel: int) -> dict[str, np.ndarray]:
    """Places of the points, by the name in the legend."""
    points = [found for found in figure.axes[panel].collections if isinstance(found, PathCollection)]
    return {
        str(found.get_label()): found.get_offsets() for found in points if not str(found.get_label()).startswith("_")
    }


def test_neighbours_in_the_embedding_are_of_one_cluster() -> None:
    places = embedded(clustered(30), fitting_perplexity(30))
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(30)
    assert ((distances.argmin(axis=1) - np.arange(30)) % len(KINDS) == 0).all()
    np.testing.assert_array_equal(places, embedded(clustered(30), fitting_perplexity(30)))


def test_the_plane_holds_the_distances_of_points_that_lie_in_one() -> None:
    points = np.array([[3.0, 0.0], [-1.0, 1.0], [-1.0, -1.0], [-1.0, 0.0]])
    places, explained = principal_plane(points @ points.T)
    np.testing.assert_allclose(places @ places.T, points @ points.T, atol=1e-12)
    np.testing.assert_allclose(explained, [12 / 14, 2 / 14])


def test_points_are_coloured_by_kind_where_the_mixture_says_it(tmp_path: Path) -> None:
    figure = draw(write_run(tmp_path, 9), "merit-1d")
    places, _ = principal_plane(clustered(9))
    found = shown(figure, 1)
    assert list(found) == ["a kind wi…e indeed", "arithmetic", "logic"]
    np.testing.assert_allclose(found["arithmetic"], places[::3])
    np.testing.assert_allclose(shown(figure, 0)["logic"], embedded(clustered(9), fitting_perplexity(9))[1::3])
    assert "Colours: kinds of task." in " ".join(figure.texts[1].get_text().split())


def test_a_mixture_without_kinds_is_coloured_by_group_and_says_so(tmp_path: Path) -> None:
    figure = draw(write_run(tmp_path, 8, kinds=False), "merit-1d")
    places, _ = principal_plane(clustered(8))
    np.testing.assert_allclose(shown(figure, 1)["group 2"], places[1::2])
    assert "the mixture does not say every task's kind" in " ".join(figure.texts[1].get_text().split())


@pytest.mark.parametrize("n", [4, 60])
def test_no_writing_leaves_the_picture_or_overlaps(tmp_path: Path, n: int) -> None:
    figure = draw(write_run(tmp_path, n), "merit-1d")
    renderer = FigureCanvasAgg(figure).get_renderer()
    box = figure.get_tightbbox(renderer)
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0
    for axes in figure.axes:
        labels = [text.get_window_extent(renderer) for text in axes.texts]
        assert not any(one.overlaps(other) for one, other in combinations(labels, 2))


def test_too_few_tasks_and_a_missing_mixture_lack_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"^3 tasks have no neighbourhoods"):
        draw(write_run(tmp_path / "few", 3), "merit-1d")
    run = write_run(tmp_path / "none", 5)
    (run.mixture / "manifest.json").unlink()
    with pytest.raises(MissingInput, match=r"manifest\.json is missing"):
        draw(run, "merit-1d")
