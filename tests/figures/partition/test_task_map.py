from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from figures.partition.task_map import draw
from figures.style import save
from training.errors import InputError
from training.run_directory import RunDirectory, write_json

SIZES = (2, 8, 136)


def write_run(root: Path, names: list[str], n_groups: int = 2) -> tuple[RunDirectory, dict]:
    """Tasks cut along axis 1 into groups of neighbours; every third one never changes group."""
    rng = np.random.default_rng(len(names))
    coordinates = rng.normal(size=(len(names), 3))
    flips = rng.uniform(0.05, 0.5, len(names))
    flips[2::3] = 0
    groups = np.array_split(np.argsort(coordinates[:, 0]), n_groups)
    partition = {
        "name": "split",
        "rule": "pca",
        "groups": [[names[task] for task in group] for group in groups],
        "axes": {"coordinates": coordinates.tolist(), "explained": [0.614, 0.25, 0.1]},
        "flip_probability": flips.tolist(),
        "same_partition": 0.77,
    }
    run = RunDirectory(root)
    write_json(run.conflicts, {"tasks": names})
    write_json(run.partition("split"), partition)
    return run, partition


def numbered(n: int) -> list[str]:
    return [f"task-{i}" for i in range(n)]


def labels(figure: Figure) -> list[Text]:
    return list(figure.axes[0].texts)


@pytest.fixture(scope="module", params=SIZES)
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Figure, dict]:
    """The map of some tasks, for tests that only look at it, and their partition."""
    run, partition = write_run(tmp_path_factory.mktemp("run"), numbered(request.param))
    return draw(run, "split"), partition


def test_the_points_of_each_group_are_the_coordinates_of_the_file(drawn: tuple[Figure, dict]) -> None:
    figure, partition = drawn
    coordinates = partition["axes"]["coordinates"]
    shown = {points.get_label(): points.get_offsets() for points in figure.axes[0].collections}
    for number, group in enumerate(partition["groups"], start=1):
        expected = [coordinates[numbered(len(coordinates)).index(task)][:2] for task in group]
        np.testing.assert_array_equal(shown[f"group {number}"], expected)


def test_rings_grow_with_the_flip_probability_and_a_task_that_never_flips_has_none(tmp_path: Path) -> None:
    run, partition = write_run(tmp_path, numbered(8), 1)
    _, rings = draw(run, "split").axes[0].collections
    order = [int(task.removeprefix("task-")) for task in partition["groups"][0]]
    flips = np.array(partition["flip_probability"])[order]
    unsure = np.array(order)[flips > 0]
    np.testing.assert_array_equal(rings.get_offsets(), np.array(partition["axes"]["coordinates"])[unsure, :2])
    diameters = np.sqrt(rings.get_sizes())
    slope, intercept = np.polyfit(flips[flips > 0], diameters, 1)
    assert slope > 0
    np.testing.assert_allclose(diameters, intercept + slope * flips[flips > 0], rtol=1e-12)


def test_groups_differ_in_colour_and_in_shape(tmp_path: Path) -> None:
    run, _ = write_run(tmp_path, numbered(16), 8)
    groups = [points for points in draw(run, "split").axes[0].collections if points.get_label().startswith("group")]
    assert len({tuple(points.get_facecolor()[0]) for points in groups}) == 8
    assert len({points.get_paths()[0].vertices.tobytes() for points in groups}) == 8


def test_both_axes_have_one_scale_and_hold_all_points(tmp_path: Path) -> None:
    run, partition = write_run(tmp_path, numbered(8))
    plane = draw(run, "split").axes[0]
    across, up = plane.get_window_extent().size
    (left, right), (low, high) = plane.get_xlim(), plane.get_ylim()
    assert (right - left) / across == pytest.approx((high - low) / up)
    x, y, _ = np.transpose(partition["axes"]["coordinates"])
    assert left < x.min() < x.max() < right
    assert low < y.min() < y.max() < high


def test_the_axes_say_their_share_of_the_variance(tmp_path: Path) -> None:
    run, _ = write_run(tmp_path, numbered(8))
    plane = draw(run, "split").axes[0]
    assert plane.get_xlabel() == "axis 1 (61 % of the variance)"
    assert plane.get_ylabel() == "axis 2 (25 % of the variance)"


def test_the_cut_lies_between_two_groups_that_axis_1_separates(tmp_path: Path) -> None:
    run, partition = write_run(tmp_path, numbered(8))
    (cut,) = [line for line in draw(run, "split").axes[0].lines if line.get_label() == "cut"]
    first, second = (
        [partition["axes"]["coordinates"][numbered(8).index(task)][0] for task in group]
        for group in partition["groups"]
    )
    assert cut.get_xdata()[0] == (max(first) + min(second)) / 2


def test_groups_that_axis_1_does_not_separate_have_no_cut(tmp_path: Path) -> None:
    run, partition = write_run(tmp_path, numbered(8))
    first, second = partition["groups"]
    write_json(run.partition("mixed"), partition | {"groups": [[*first[1:], second[-1]], [*second[:-1], first[0]]]})
    assert not [line for line in draw(run, "mixed").axes[0].lines if line.get_label() == "cut"]


def test_names_overlap_neither_each_other_nor_the_points_and_stay_inside(drawn: tuple[Figure, dict]) -> None:
    figure, partition = drawn
    plane, renderer = figure.axes[0], FigureCanvasAgg(figure).get_renderer()
    boxes = [Text.get_window_extent(label, renderer) for label in labels(figure)]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    points = plane.transData.transform(np.array(partition["axes"]["coordinates"])[:, :2])
    assert not any(box.contains(*point) for box in boxes for point in points)
    frame = plane.get_window_extent()
    assert all(frame.contains(*corner) for box in boxes for corner in box.corners())


def test_names_that_find_no_room_are_counted(tmp_path: Path) -> None:
    run, _ = write_run(tmp_path, [f"{i}-a-rather-long-name" for i in range(136)])
    figure = draw(run, "split")
    left_out = 136 - len(labels(figure))
    assert left_out > 0
    assert f"{left_out} of 136 names find no room." in " ".join(figure.texts[1].get_text().split())


@pytest.mark.parametrize("n", SIZES)
def test_no_writing_leaves_the_picture(tmp_path: Path, n: int) -> None:
    run, _ = write_run(tmp_path, [f"{i}-" + "wide_name" * 8 for i in range(n)], min(n, 8))
    figure = draw(run, "split")
    box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) > 0


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    names = ["$x_1$", "<b>bold</b>", r"\frac", "$unbalanced", "_hidden"]
    run, _ = write_run(tmp_path, names)
    figure = draw(run, "split")
    assert [label.get_text() for label in labels(figure)] == names
    assert not any(label.get_parse_math() for label in labels(figure))
    save(figure, tmp_path, "map")


def test_tasks_at_one_point_are_drawn(tmp_path: Path) -> None:
    run, partition = write_run(tmp_path, numbered(2))
    write_json(run.partition("point"), partition | {"axes": {"coordinates": [[0, 0], [0, 0]], "explained": [0, 0]}})
    assert len(labels(draw(run, "point"))) == 2


@pytest.mark.parametrize("n", [2, 8])
def test_the_same_run_gives_the_same_bytes(tmp_path: Path, n: int) -> None:
    run, _ = write_run(tmp_path, numbered(n))
    first, second = (save(draw(run, "split"), tmp_path / side, "map") for side in ("one", "two"))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_partition_without_axes_is_refused(tmp_path: Path) -> None:
    run, _ = write_run(tmp_path, ["a", "b"])
    write_json(run.partition("random"), {"name": "random", "rule": "random", "groups": [["a"], ["b"]]})
    with pytest.raises(InputError, match="partition random has no principal axes"):
        draw(run, "random")
