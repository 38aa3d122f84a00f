from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from figures.partition.conflict_heat_map import draw
from figures.style import save
from training.errors import InputError
from training.run_directory import RunDirectory, write_json

SIZES = (2, 8, 17, 136)


def write_run(root: Path, names: list[str], groups: list[list[int]]) -> tuple[RunDirectory, dict]:
    """A run whose cosines straddle two standard errors."""
    rng = np.random.default_rng(len(names))
    cosine = rng.uniform(-0.4, 0.4, (len(names), len(names)))
    cosine = (cosine + cosine.T) / 2
    np.fill_diagonal(cosine, 1.0)
    error = np.full_like(cosine, 0.05) - 0.05 * np.eye(len(names))
    conflicts = {
        "tasks": names,
        "cosine": cosine.tolist(),
        "standard_error": error.tolist(),
        "reliability": rng.uniform(0, 1, len(names)).tolist(),
    }
    run = RunDirectory(root)
    write_json(run.conflicts, conflicts)
    write_json(
        run.partition("split"), {"name": "split", "groups": [[names[task] for task in group] for group in groups]}
    )
    return run, conflicts


def halves(n: int) -> list[list[int]]:
    """Odd tasks, then even ones backwards: an order that differs from the file's."""
    return [list(range(1, n, 2)), list(range(0, n, 2))[::-1]]


def shown(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


@pytest.fixture(scope="module", params=SIZES)
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Figure, dict]:
    """The map of some tasks in halves, for tests that only look at it, and their conflicts."""
    names = [f"task-{i}" for i in range(request.param)]
    run, conflicts = write_run(tmp_path_factory.mktemp("run"), names, halves(len(names)))
    return draw(run, "split"), conflicts


def test_the_image_holds_the_cosines_of_the_file_group_by_group(drawn: tuple[Figure, dict]) -> None:
    figure, conflicts = drawn
    cells, n = figure.axes[0], len(conflicts["tasks"])
    order = [task for group in halves(n) for task in group]
    image = cells.images[0].get_array()
    np.testing.assert_array_equal(image.data, np.array(conflicts["cosine"])[np.ix_(order, order)])
    np.testing.assert_array_equal(image.mask, np.eye(n, dtype=bool))


def test_the_colour_limits_are_symmetric_and_span_the_cosines_between_different_tasks(
    drawn: tuple[Figure, dict],
) -> None:
    figure, conflicts = drawn
    low, high = figure.axes[0].images[0].get_clim()
    assert -low == high == np.abs(np.array(conflicts["cosine"]) - np.eye(len(conflicts["tasks"]))).max()


def test_rows_and_columns_are_named_in_the_order_of_the_groups(tmp_path: Path) -> None:
    run, _ = write_run(tmp_path, ["a", "b", "c", "d"], [[2, 0], [3, 1]])
    cells = draw(run, "split").axes[0]
    for axis in (cells.xaxis, cells.yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == ["c", "a", "d", "b"]


def test_lines_divide_the_groups_and_each_group_is_named(tmp_path: Path) -> None:
    run, _ = write_run(tmp_path, [f"task-{i}" for i in range(8)], [[0, 1, 2], [3, 4, 5, 6], [7]])
    cells = draw(run, "split").axes[0]
    lines = [list(line.get_xdata()) for line in cells.lines]
    assert [2.5, 2.5] in lines
    assert [6.5, 6.5] in lines
    centres = {text.get_text(): text.get_position()[0] for text in cells.texts if text.get_text().startswith("group")}
    assert centres == {"group 1": 1.0, "group 2": 4.5, "group 3": 7.0}


def test_small_groups_are_numbered_where_names_would_collide(tmp_path: Path) -> None:
    run, _ = write_run(tmp_path, [f"task-{i}" for i in range(40)], [[i] for i in range(4)] + [list(range(4, 40))])
    assert shown(draw(run, "split").axes[0]) == ["group", "1", "2", "3", "4", "5"]


def test_the_values_in_the_cells_are_the_cosines_and_italic_where_zero_is_within_two_standard_errors(
    tmp_path: Path,
) -> None:
    run, conflicts = write_run(tmp_path, [f"task-{i}" for i in range(8)], [list(range(8))])
    cosine = np.array(conflicts["cosine"])
    values = [text for text in draw(run, "split").axes[0].texts if not text.get_text().startswith("group")]
    assert len(values) == 8 * 7
    for text in values:
        column, row = text.get_position()
        assert float(text.get_text().replace("−", "-")) == pytest.approx(cosine[row, column], abs=0.005)
        assert (text.get_style() == "italic") == (abs(cosine[row, column]) < 0.1)
    assert {text.get_style() for text in values} == {"italic", "normal"}


def test_with_many_tasks_dots_mark_the_cells_where_zero_is_within_two_standard_errors(tmp_path: Path) -> None:
    run, conflicts = write_run(tmp_path, [f"task-{i}" for i in range(40)], [list(range(40))])
    cells = draw(run, "split").axes[0]
    assert shown(cells) == ["group 1"]
    expected = np.argwhere(np.abs(conflicts["cosine"]) < 0.1)
    np.testing.assert_array_equal(cells.collections[0].get_offsets(), expected[:, ::-1])


def test_the_bars_are_the_reliabilities_in_the_order_of_the_rows(drawn: tuple[Figure, dict]) -> None:
    figure, conflicts = drawn
    cells, bars, _ = figure.axes
    n = len(conflicts["tasks"])
    widths = [bar.get_width() for bar in bars.containers[1]]
    np.testing.assert_array_equal(
        widths, np.array(conflicts["reliability"])[[task for group in halves(n) for task in group]]
    )
    assert bars.get_xlim() == (0, 1)
    assert bars.get_ylim() == cells.get_ylim()


@pytest.mark.parametrize("n", SIZES)
def test_no_writing_leaves_the_picture_and_row_names_do_not_overlap(tmp_path: Path, n: int) -> None:
    run, _ = write_run(tmp_path, [f"{i}-" + "wide_name" * 8 for i in range(n)], halves(n))
    figure = draw(run, "split")
    renderer = FigureCanvasAgg(figure).get_renderer()
    box = figure.get_tightbbox(renderer)
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) > 0
    extents = [label.get_window_extent(renderer) for label in figure.axes[0].get_yticklabels()]
    assert all(below.y1 <= above.y0 for above, below in pairwise(extents))


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    names = ["$x_1$", "<b>bold</b>", r"\frac", "$unbalanced", "_hidden"]
    run, _ = write_run(tmp_path, names, [[0, 1], [2, 3, 4]])
    figure = draw(run, "split")
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == names
    assert not any(label.get_parse_math() for label in labels)
    save(figure, tmp_path, "map")


@pytest.mark.parametrize("n", [2, 17])
def test_the_same_run_gives_the_same_bytes(tmp_path: Path, n: int) -> None:
    run, _ = write_run(tmp_path, [f"task-{i}" for i in range(n)], halves(n))
    first, second = (save(draw(run, "split"), tmp_path / side, "heat") for side in ("one", "two"))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_partition_of_other_tasks_is_refused(tmp_path: Path) -> None:
    run, _ = write_run(tmp_path, ["a", "b", "c"], [[0], [1, 2]])
    write_json(run.partition("old"), {"name": "old", "groups": [["a"], ["b"]]})
    with pytest.raises(InputError, match=r"partition old .* differ in 1 tasks, first 'c'"):
        draw(run, "old")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"conflicts\.json is missing"):
        draw(RunDirectory(tmp_path), "split")
