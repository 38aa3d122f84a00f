from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from figures.study import (
    displacement_by_epoch,
    displacement_by_epoch_table,
    learning_rates,
    learning_rates_table,
    seeds_table,
)
from figures.table import MISSING, Block
from tests.figures.recorded_runs import SMALL, all_arms, write_branches, write_run
from training.errors import InputError, MissingInput
from training.run_directory import BranchDirectory, RunDirectory, read_json, write_json, write_text

EPOCHS = ("start", "joint-0.5", "joint", "joint-2", "merit-1d")


def rows(block: Block) -> list[list[str]]:
    return [list(row) for row in block.rows]


def losses_of(run: RunDirectory, arm: str) -> dict[str, float]:
    return next(row["loss"] for row in read_json(run.summary(".json"))["arms"] if row["arm"] == arm)


def written(loss: dict[str, float]) -> str:
    return f"{loss['value']:.3f} [{loss['low']:.3f}, {loss['high']:.3f}]"


def trained_run(root: Path, epochs: float = 1.0, arms: Sequence[str] = EPOCHS, seed: int = 0) -> RunDirectory:
    run = write_run(root, arms, epochs=epochs, seed=seed)
    for arm in arms[1:]:
        names = (f"{arm}-a", f"{arm}-b") if arm.startswith("merit") else (arm,)
        write_branches(run, arm, {name: [9.0] * 18 + [1.0 + number, 2.0] for number, name in enumerate(names)})
    return run


def assert_nothing_leaves(figure: Figure) -> None:
    drawn = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    width, height = figure.get_size_inches()
    assert 0 <= drawn.x0 <= drawn.x1 <= width
    assert 0 <= drawn.y0 <= drawn.y1 <= height


def test_epochs_are_those_of_the_recipe_times_those_of_the_arm(tmp_path: Path) -> None:
    runs = [trained_run(tmp_path / "one"), trained_run(tmp_path / "three", 3.0, ("start", "joint", "merit-1d"))]
    ours, paper = displacement_by_epoch_table.tabulate(runs).blocks
    assert [row[:2] for row in rows(ours)] == [
        *(["joint", epochs] for epochs in ("0.5", "1", "2", "3")),
        ["merit-1d", "1"],
        ["merit-1d", "3"],
    ]
    assert rows(ours)[3][5] == written(losses_of(runs[1], "joint"))
    assert rows(paper)[0][:4] == ["joint", "0.5", "13.7", "0.71"]
    assert rows(paper)[3][:4] == ["merged", "6", "11.9", "1.33"]


def test_training_loss_is_that_of_all_branches_over_the_last_tenth_by_answer_tokens(tmp_path: Path) -> None:
    ours, _ = displacement_by_epoch_table.tabulate([trained_run(tmp_path)]).blocks
    assert rows(ours)[0][3:5] == ["1.500", MISSING]
    # Branch a has 10 answer tokens a step, branch b 20: ((1 + 2)·10 + (2 + 2)·20) / 60.
    assert rows(ours)[-1][3:5] == [MISSING, "1.833"]


def test_metrics_that_are_gone_leave_a_dash_and_damaged_ones_are_told(tmp_path: Path) -> None:
    run = trained_run(tmp_path)
    metrics = BranchDirectory(run.branch("joint")).metrics
    metrics.unlink()
    assert rows(displacement_by_epoch_table.tabulate([run]).blocks[0])[1][3] == MISSING
    assert displacement_by_epoch.draw([run]).axes
    write_text(metrics, '{"step": 1, "lo')
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged"):
        displacement_by_epoch_table.tabulate([run])


def test_curves_are_the_files_numbers(tmp_path: Path) -> None:
    run = trained_run(tmp_path)
    moved, losses = displacement_by_epoch.draw([run]).axes
    arms = {row["arm"]: row for row in read_json(run.summary(".json"))["arms"]}
    joint = ("joint-0.5", "joint", "joint-2")
    line = moved.lines[0]
    assert list(line.get_xdata()) == [0.5, 1.0, 2.0]
    assert list(line.get_ydata()) == [arms[name]["displacement"] for name in joint]
    held_out, training, *_ = losses.lines
    assert list(held_out.get_ydata()) == [arms[name]["loss"]["value"] for name in joint]
    assert list(training.get_ydata()) == [1.5] * 3
    ends = [tuple(segment[:, 1]) for segment in losses.collections[0].get_segments()]
    assert ends == [(arms[name]["loss"]["low"], arms[name]["loss"]["high"]) for name in joint]


def test_runs_that_differ_otherwise_are_curves_of_their_own(tmp_path: Path) -> None:
    runs = [trained_run(tmp_path / "first"), trained_run(tmp_path / "second", seed=1)]
    figure = displacement_by_epoch.draw(runs)
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert labels[:4] == ["joint, first", "merit-1d, first", "joint, second", "merit-1d, second"]
    assert len(displacement_by_epoch_table.tabulate(runs).blocks) == 3
    assert_nothing_leaves(figure)


def sweep(root: Path, rates: Sequence[float], arms: Sequence[str] = SMALL, seed: int = 0) -> list[RunDirectory]:
    return [
        write_run(root / f"s{seed}-{number}", arms, learning_rate=rate, seed=seed) for number, rate in enumerate(rates)
    ]


def test_losses_by_rate_are_the_files_numbers_in_ascending_order(tmp_path: Path) -> None:
    runs = sweep(tmp_path, (4e-4, 8e-5, 2e-4))
    table = learning_rates_table.tabulate(runs)
    assert table.columns == ["arm", "8e-05", "0.0002", "0.0004"]
    by_arm = {row[0]: row[1:] for row in rows(table.blocks[0])}
    assert by_arm["merit-1d"] == [written(losses_of(runs[number], "merit-1d")) for number in (1, 2, 0)]
    assert "start" not in by_arm  # nothing was trained at any rate
    (axes,) = learning_rates.draw(runs).axes
    lines = {line.get_label(): line for line in axes.lines}
    expected = [losses_of(runs[number], "merit-1d")["value"] for number in (1, 2, 0)]
    assert list(lines["merit-1d"].get_ydata()) == expected
    np.testing.assert_allclose(lines["merit-1d"].get_xdata(), [8e-5, 2e-4, 4e-4], rtol=0.05)


def test_sweeps_of_two_seeds_are_two_panels_and_two_blocks(tmp_path: Path) -> None:
    runs = [run for seed in (0, 1) for run in sweep(tmp_path, (1e-4, 1e-3), seed=seed)]
    assert len(learning_rates_table.tabulate(runs).blocks) == 2
    assert_nothing_leaves(learning_rates.draw(runs))


def test_a_sweep_of_every_arm_finds_room(tmp_path: Path) -> None:
    figure = learning_rates.draw(sweep(tmp_path, (1e-4, 1e-3), all_arms()[::4]))
    assert_nothing_leaves(figure)


def test_seeds_have_their_mean_and_deviation(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run-{seed}", SMALL if seed else SMALL[:-1], seed=seed) for seed in (2, 0, 1)]
    table = seeds_table.tabulate(runs)
    assert table.columns[1:4] == ["seed 0", "seed 1", "seed 2"]
    by_arm = {row[0]: row[1:] for row in rows(table.blocks[0])}
    values = np.array([losses_of(runs[number], "joint")["value"] for number in (1, 2, 0)])
    cells = [*values, values.mean(), values.std(ddof=1)]
    assert by_arm["joint"] == [*(f"{value:.3f}" for value in cells), MISSING]
    assert by_arm["random-2"][0] == MISSING
    assert "python -m training compare" in table.note


def test_the_test_is_that_of_the_comparison_of_these_very_runs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run-{seed}", seed=seed) for seed in range(5)]
    row = {"arm": "merit-1d", "against": "joint", "signed_rank": {"p_value": 0.03125}}
    others = [
        row | {"against": "random-2", "signed_rank": {"p_value": 0.5}},
        {"arm": "random-2", "against": "joint", "signed_rank": None},
    ]
    comparison = {"metric": "loss", "runs": [f"elsewhere/run-{seed}" for seed in range(5)], "rows": [row, *others]}
    write_json(tmp_path / "match.json", comparison | {"metric": "match", "rows": [row | {"arm": "joint"}]})
    write_json(runs[0].root / "compare.json", comparison)
    block, paper = seeds_table.tabulate(runs).blocks
    tested = {row[0]: row[-1] for row in rows(block)}
    assert tested.pop("merit-1d") == "0.03125"
    assert set(tested.values()) == {MISSING}
    assert rows(paper)[0][-1] == "0.03125"
    assert {row[-1] for row in rows(seeds_table.tabulate(runs[:4]).blocks[0])} == {MISSING}


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (displacement_by_epoch, "branch.epochs"),
        (displacement_by_epoch_table, "joint-0.5, joint and joint-2"),
        (learning_rates, "branch.learning_rate"),
        (learning_rates_table, "branch.learning_rate"),
        (seeds_table, "seed=1"),
    ],
)
def test_one_run_alone_is_told_what_a_study_takes(tmp_path: Path, module: object, sentence: str) -> None:
    run = trained_run(tmp_path, arms=("start", "joint", "merit-1d"))
    study = getattr(module, "draw", None) or module.tabulate
    with pytest.raises(MissingInput, match=sentence):
        study([run])
