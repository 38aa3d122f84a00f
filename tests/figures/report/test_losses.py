import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from figures.report import losses, task_losses
from figures.style import DARK_MODE, save
from training.run_directory import ReportDirectory, write_json

TASKS = ("gcd", "coin_flip", "a_task_with_quite_a_long_name_that_is_cut")


def interval(value: float, half: float = 0.05) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + 2 * half}


def write(
    root: Path, tasks: tuple[str, ...] = TASKS, branches: int = 2, joint: bool = True
) -> tuple[ReportDirectory, dict]:
    rng = np.random.default_rng(len(tasks) + branches)
    names = ["start", *(f"branch-{number + 1}" for number in range(branches)), "merged"]
    names += ["joint", "joint-equal-steps"] if joint else []
    result = {
        "tasks": list(tasks),
        "models": [
            {
                "model": name,
                "loss": interval(rng.uniform(1, 2)),
                "macro_loss": interval(rng.uniform(1, 2)),
                "tasks": rng.uniform(1, 2, len(tasks)).tolist(),
            }
            for name in names
        ],
        "branch_average": interval(1.7),
        "macro_branch_average": interval(1.8),
        "branch_average_tasks": rng.uniform(1, 2, len(tasks)).tolist(),
        "task_gains": [interval(value) for value in rng.normal(size=len(tasks))],
        "task_merged_minus": {
            name: [interval(value) for value in rng.normal(size=len(tasks))] for name in names if name != "merged"
        },
    }
    directory = ReportDirectory(root)
    write_json(directory.values("losses"), {"key": "", "result": result})
    return directory, result


def points(panel: Axes) -> list[tuple[float, float]]:
    lines = [line for line in panel.lines if line.get_marker() not in ("", "None", None)]
    return [(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)]


def assert_nothing_leaves(figure: Figure) -> None:
    drawn = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    width, height = figure.get_size_inches()
    assert 0 <= drawn.x0 <= drawn.x1 <= width
    assert 0 <= drawn.y0 <= drawn.y1 <= height


def test_losses_are_the_files_numbers_in_the_order_of_the_merge(tmp_path: Path) -> None:
    directory, result = write(tmp_path)
    overall, macro = losses.draw(directory).axes
    names = [label.get_text() for label in overall.get_yticklabels()]
    assert names == ["start", "branch-1", "branch-2", "branch average", "merged", "joint", "joint-equal-steps"]
    by_name = {entry["model"]: entry for entry in result["models"]}
    by_name["branch average"] = {"loss": result["branch_average"], "macro_loss": result["macro_branch_average"]}
    for panel, kind in ((overall, "loss"), (macro, "macro_loss")):
        assert points(panel) == [(by_name[name][kind]["value"], row) for row, name in enumerate(names)]
        assert [text.get_text() for text in panel.texts] == [f"{by_name[name][kind]['value']:.3f}" for name in names]
        ends = [tuple(map(float, line.get_xdata())) for line in panel.lines[1::2]]
        assert ends == [(by_name[name][kind]["low"], by_name[name][kind]["high"]) for name in names]


def test_tasks_show_levels_and_paired_differences(tmp_path: Path) -> None:
    directory, result = write(tmp_path)
    levels, differences = task_losses.draw(directory).axes
    shown = {line.get_label(): list(line.get_xdata()) for line in levels.lines}
    by_name = {entry["model"]: entry["tasks"] for entry in result["models"]}
    assert shown.pop("branch average") == result["branch_average_tasks"]
    assert shown == {name: by_name[name] for name in ("start", "merged", "joint", "joint-equal-steps")}

    expected = [-gain["value"] for gain in result["task_gains"]]
    for name in ("joint", "joint-equal-steps"):
        expected += [entry["value"] for entry in result["task_merged_minus"][name]]
    assert [x for x, _ in points(differences)] == expected
    bars = [tuple(segment[:, 0]) for lines in differences.collections for segment in lines.get_segments()]
    assert bars[: len(TASKS)] == [(-gain["high"], -gain["low"]) for gain in result["task_gains"]]


@pytest.mark.parametrize(("tasks", "branches", "joint"), [(1, 2, True), (8, 8, False), (70, 2, True)])
def test_any_number_of_tasks_and_branches_finds_room(tmp_path: Path, tasks: int, branches: int, joint: bool) -> None:
    directory, _ = write(tmp_path, tuple(f"task_{number}" for number in range(tasks)), branches, joint)
    for draw in (losses.draw, task_losses.draw):
        assert_nothing_leaves(draw(directory))


def test_every_colour_has_a_dark_one(tmp_path: Path) -> None:
    directory, _ = write(tmp_path)
    for module in (losses, task_losses):
        _, svg = save(module.draw(directory), tmp_path, "picture")
        drawn = svg.read_text()
        used = set(re.findall(r"(?:fill|stroke): (#\w+)", drawn[drawn.index("</style>") :]))
        assert used <= DARK_MODE.keys()
