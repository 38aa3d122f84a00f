import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from figures.run import arm_differences, arms, cost_by_stage, gain_and_loss
from figures.style import DARK_MODE, FULL_WIDTH, save
from tests.figures.recorded_runs import SMALL, all_arms, write_run
from training.errors import InputError, MissingInput
from training.run_directory import RunDirectory, read_json, write_json, write_text

PICTURES = (arms, arm_differences, cost_by_stage, gain_and_loss)


def dots(panel: Axes) -> list[tuple[float, float]]:
    """Value and row of every dot, arrows left out."""
    lines = [line for line in panel.lines if line.get_marker() == "o"]
    return [(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)]


def bars(panel: Axes) -> list[tuple[float, float]]:
    lines = [line for line in panel.lines if line.get_marker() == "None" and len(set(line.get_ydata())) == 1]
    return [(float(line.get_xdata()[0]), float(line.get_xdata()[1])) for line in lines if len(line.get_xdata()) == 2]


def panels(figure: Figure, title: str) -> Axes:
    return next(panel for panel in figure.axes if panel.get_title(loc="left").replace("\n", " ") == title)


def assert_nothing_leaves(figure: Figure) -> None:
    drawn = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    width, height = figure.get_size_inches()
    assert width <= FULL_WIDTH
    assert 0 <= drawn.x0 <= drawn.x1 <= width
    assert 0 <= drawn.y0 <= drawn.y1 <= height


def test_losses_with_their_intervals_and_the_other_panels_are_the_files_numbers(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    rows = {row["arm"]: row for row in read_json(run.summary(".json"))["arms"]}
    figure = arms.draw(run)
    near = [row["loss"] for name, row in rows.items() if name != "base"]  # base lies beyond the rim
    losses = panels(figure, "mean over tasks")
    assert sorted(value for value, _ in dots(losses)) == sorted(loss["value"] for loss in near)
    assert {(loss["low"], loss["high"]) for loss in near} <= set(bars(losses))
    matches = sorted(100 * row["results"]["exact_match"] for row in rows.values())
    assert sorted(value for value, _ in dots(panels(figure, "right answers"))) == pytest.approx(matches)
    unseen = {row["results"]["unseen_loss"] for row in rows.values()}
    assert {value for value, _ in dots(panels(figure, "unseen tasks"))} <= unseen


def test_a_model_far_from_the_others_is_an_arrow_with_its_number(tmp_path: Path) -> None:
    losses = panels(arms.draw(write_run(tmp_path)), "mean over tasks")
    arrows = [line for line in losses.lines if line.get_marker() == ">"]
    assert [float(arrow.get_xdata()[0]) for arrow in arrows] == [losses.get_xlim()[1]]
    assert "3.75" in [text.get_text() for text in losses.texts]


def test_the_dashed_line_is_the_best_of_joint_training_and_controls_at_equal_tokens(tmp_path: Path) -> None:
    run = write_run(tmp_path, (*SMALL, "joint-2"))
    summary = read_json(run.summary(".json"))
    for row in summary["arms"]:  # longer training and the partition have lower losses, and are no controls
        row["loss"]["value"] -= {"joint-2": 0.5, "merit-1d": 0.4}.get(row["arm"], 0.0)
    write_json(run.summary(".json"), summary)
    losses = {row["arm"]: row["loss"]["value"] for row in summary["arms"]}
    best = min(("joint", "joint-equal-steps-2", "random-2"), key=lambda arm: losses[arm])
    figure = arms.draw(run)
    (line,) = [line for line in panels(figure, "mean over tasks").lines if line.get_linestyle() == "--"]
    assert line.get_xdata()[0] == losses[best]
    assert f"Dashed: {best}," in " ".join(figure.texts[1].get_text().split())


def test_tokens_stand_in_for_answers_where_none_was_generated(tmp_path: Path) -> None:
    run = write_run(tmp_path, generated=False)
    accuracies = [100 * row["results"]["accuracy"] for row in read_json(run.summary(".json"))["arms"]]
    shown = [value for value, _ in dots(panels(arms.draw(run), "right tokens"))]
    assert sorted(shown) == pytest.approx(sorted(accuracies))


def test_differences_stand_in_the_panel_of_their_kind_in_the_colour_of_their_verdict(tmp_path: Path) -> None:
    run = write_run(tmp_path, (*SMALL, "random-2-s1", "merit-1d+ties"))
    figure = arm_differences.draw(run)
    entries = read_json(run.summary(".json"))["differences"]
    for kind in ("joint", "random groups", "its own plain merge"):
        panel = panels(figure, kind)
        own = [
            entry
            for entry in entries
            if arm_differences.control_kind(entry["arm"], entry["control"]).replace("\n", " ") == kind
        ]
        shown = {
            float(line.get_xdata()[0]): line.get_color() for line in panel.lines if line.get_marker() in ("o", "<", ">")
        }
        expected = {entry["loss"]["value"]: arm_differences.COLOURS[entry["verdict"]] for entry in own}
        low, high = panel.get_xlim()
        assert shown == {min(max(value, low), high): colour for value, colour in expected.items()}
    assert len({panel.get_xlim() for panel in figure.axes[1:]}) == 1


def test_the_heads_of_all_kinds_of_controls_stand_apart(tmp_path: Path) -> None:
    figure = arm_differences.draw(write_run(tmp_path, all_arms()))
    renderer = FigureCanvasAgg(figure).get_renderer()
    heads = [panel.title if panel.title.get_text() else panel._left_title for panel in figure.axes]
    extents = sorted((head.get_window_extent(renderer) for head in heads if head.get_text()), key=lambda own: own.x0)
    assert len(extents) >= 7
    assert all(one.x1 < other.x0 for one, other in pairwise(extents))


def test_what_was_measured_is_solid_and_what_was_computed_hatched(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    table = read_json(run.cost)
    stages, _, methods = cost_by_stage.draw(run).axes
    assert [bar.get_width() for bar in stages.patches] == [stage["value"] for stage in table["stage_seconds"].values()]
    drawn = {(bar.get_x(), bar.get_width(), bar.get_hatch()) for bar in methods.patches if bar.get_height() < 0.7}
    for method in table["methods"]:
        training = method["training_seconds"]["value"]
        hatch = None if method["training_seconds"]["how"] == "measured" else cost_by_stage.HATCH
        assert (0.0, training, hatch) in drawn
        rest = method["seconds_to_model"]["value"] - training
        assert not rest or (training, rest, cost_by_stage.HATCH) in drawn


def test_without_a_cost_file_the_stages_are_drawn_alone(tmp_path: Path) -> None:
    run = write_run(tmp_path, with_cost=False)
    (stages,) = cost_by_stage.draw(run).axes
    assert [bar.get_width() for bar in stages.patches] == [*read_json(run.summary(".json"))["stage_seconds"].values()]


def test_gains_and_losses_of_averages_are_the_files_numbers_by_number_of_branches(tmp_path: Path) -> None:
    run = write_run(tmp_path, (*SMALL, "merit-2d", "iid-4", "merit-2d+ties", "merit-2d@fitted"))
    rows = {row["arm"]: row for row in read_json(run.summary(".json"))["arms"]}
    (axes,) = gain_and_loss.draw(run).axes
    shown = {
        points.get_label(): {tuple(map(float, place)) for place in points.get_offsets()}
        for points in axes.collections
        if points.get_label().startswith("K")
    }
    for label, names in {"K = 2": ("merit-1d", "random-2"), "K = 4": ("merit-2d", "iid-4")}.items():
        assert shown.pop(label) == {(rows[name]["gain"], rows[name]["loss"]["value"]) for name in names}
    assert not shown


@pytest.mark.parametrize("module", PICTURES)
@pytest.mark.parametrize(
    "names", [("start", "joint", "merit-1d"), ("joint", "merit-1d", "an-own-split-with-a-name" * 8), all_arms()[::6]]
)
def test_any_number_of_arms_finds_room(tmp_path: Path, module: ModuleType, names: tuple[str, ...]) -> None:
    run = write_run(tmp_path, names if "an-own" not in names[-1] else names[:2])
    if "an-own" in names[-1]:
        for path in (run.summary(".json"), run.cost):
            write_text(path, path.read_text().replace('"merit-1d"', f'"{names[-1]}"'))
    assert_nothing_leaves(module.draw(run))


@pytest.mark.parametrize("module", PICTURES)
def test_every_colour_has_a_dark_one(tmp_path: Path, module: ModuleType) -> None:
    _, svg = save(module.draw(write_run(tmp_path, (*SMALL, "soup-2", "merit-1d+ties"))), tmp_path, "picture")
    drawn = svg.read_text()
    used = set(re.findall(r"(?:fill|stroke): (#\w+)", drawn[drawn.index("</style>") :]))
    assert used <= {*DARK_MODE, "#000000"}
    assert to_rgba("#000000") not in [to_rgba(colour) for colour in DARK_MODE]


@pytest.mark.parametrize("module", PICTURES)
def test_a_run_that_has_not_ended_or_is_damaged_is_told_apart(tmp_path: Path, module: ModuleType) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(MissingInput, match=r"summary\.json is missing; end the run with python -m training run"):
        module.draw(run)
    write_text(run.summary(".json"), '{"arms": [')
    with pytest.raises(InputError, match="not valid JSON") as caught:
        module.draw(run)
    assert not isinstance(caught.value, MissingInput)


def test_runs_without_controls_or_gains_say_what_would_make_them(tmp_path: Path) -> None:
    run = write_run(tmp_path, ("base", "start"), with_cost=False)
    with pytest.raises(MissingInput, match="add joint and random-2"):
        arm_differences.draw(run)
    with pytest.raises(MissingInput, match="no arm with a measured gain"):
        gain_and_loss.draw(run)
    assert_nothing_leaves(arms.draw(run))
