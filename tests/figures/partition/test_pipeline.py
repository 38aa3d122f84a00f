from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from figures.partition.pipeline import draw
from training.errors import MissingInput
from training.run_directory import BranchDirectory, RunDirectory, write_json


def write_run(
    root: Path, sizes: tuple[int, ...] = (2, 3), weights: tuple[float, ...] | None = (0.4, 0.6)
) -> RunDirectory:
    run = RunDirectory(root)
    names = iter(f"task-{number}" for number in range(sum(sizes)))
    groups = [[next(names) for _ in range(size)] for size in sizes]
    tasks = [task for group in groups for task in group]
    write_json(run.conflicts, {"tasks": tasks, "answer_tokens": [100] * len(tasks)})
    write_json(run.partition("split"), {"groups": groups})
    for arm, branches in (("split", [f"b{number}" for number in range(len(sizes))]), ("joint", ["whole"])):
        own = list(weights) if weights and arm == "split" else None
        write_json(run.arm(arm) / "arm.json", {"branches": branches, "weights": own})
        for number, branch in enumerate(branches):
            done = {"tokens": 1000 * (number + 1) + len(arm), "steps": 7 + number, "seconds": 61.6 + number}
            write_json(BranchDirectory(run.branch(branch)).done, done)
    arms = [
        {"arm": "split", "loss": {"value": 1.5, "low": 1.4, "high": 1.65}},
        {"arm": "joint", "loss": {"value": 1.25, "low": 1.2, "high": 1.3}},
    ]
    write_json(run.summary(".json"), {"arms": arms})
    return run


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_every_box_holds_what_the_files_hold(tmp_path: Path) -> None:
    shown = texts(draw(write_run(tmp_path), "split"))
    assert "5 tasks\ngradients of 500\nanswer tokens\nat the start" in shown
    assert {"task-0\ntask-1", "task-2\ntask-3\ntask-4"} <= set(shown)
    assert {"1,005 tokens\n7 steps\n62 s\nweight 0.40", "2,005 tokens\n8 steps\n63 s\nweight 0.60"} <= set(shown)
    assert {"split\nloss 1.500\n[1.400, 1.650]", "joint\nloss 1.250\n[1.200, 1.300]"} <= set(shown)
    assert "1,005 tokens\n7 steps\n62 s" in shown  # joint training


def test_a_merge_without_weights_weighs_its_branches_equally(tmp_path: Path) -> None:
    shown = texts(draw(write_run(tmp_path, weights=None), "split"))
    assert sum("weight 0.50" in text for text in shown) == 2


@pytest.mark.parametrize("sizes", [(1,), (2, 3), (17,) * 8])
def test_no_text_leaves_its_box_and_no_box_touches_another(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    figure = draw(write_run(tmp_path, sizes, (1 / len(sizes),) * len(sizes)), "split")
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [patch.get_window_extent(renderer) for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    assert not any(one.overlaps(other) for number, one in enumerate(boxes) for other in boxes[:number])
    inside = [text.get_window_extent(renderer) for text in figure.axes[0].texts if "\n" in text.get_text()]
    assert len(inside) >= len(sizes) + 3
    for extent in inside:
        assert any(
            box.x0 <= extent.x0 and extent.x1 <= box.x1 and box.y0 <= extent.y0 and extent.y1 <= box.y1 for box in boxes
        )
    canvas = figure.bbox
    assert all(canvas.x0 <= box.x0 and box.x1 <= canvas.x1 and canvas.y0 <= box.y0 for box in boxes)


@pytest.mark.parametrize("arm", ["split", "joint"])
def test_an_arm_that_is_not_finished_is_named(tmp_path: Path, arm: str) -> None:
    run = write_run(tmp_path)
    other = {"split": "joint", "joint": "split"}[arm]
    write_json(run.summary(".json"), {"arms": [{"arm": other, "loss": {"value": 1.0, "low": 0.9, "high": 1.1}}]})
    with pytest.raises(MissingInput, match=f"no finished arm {arm}; run it"):
        draw(run, "split")
