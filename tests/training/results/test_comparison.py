import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.recorded_runs import write_run
from training.errors import InputError
from training.evaluation.items import load_items
from training.results.comparison import compare_runs
from training.run_directory import RunDirectory, write_json

ARMS = {"joint": 0.5, "merit-1d": 0.4, "random-2": 0.45, "random-2-s1": 0.46, "random-2-s2": 0.47, "random-4": 0.7}


def runs_of(folder: Path, count: int, **options: object) -> list[Path]:
    return [
        write_run(folder / f"run{seed}", ARMS, seed=seed, branches={"merit-1d": 2}, **options)  # type: ignore[arg-type]
        for seed in range(count)
    ]


def test_the_difference_is_that_of_the_macro_losses_and_runs_over_the_same_tasks_are_seeds(tmp_path: Path) -> None:
    folders = runs_of(tmp_path, 3)
    (row,) = compare_runs(folders, "merit-1d", ["joint"]).rows
    losses = {
        arm: [load_items(RunDirectory(folder).evaluation(arm)).task_losses[:4].mean() for folder in folders]
        for arm in ("merit-1d", "joint")
    }
    expected = np.mean(losses["merit-1d"]) - np.mean(losses["joint"])
    assert row.difference.interval.value == pytest.approx(expected, rel=1e-12)
    assert row.difference.interval.high < 0
    assert row.difference.counts.covered == ("seed", "task", "item")
    assert row.difference.counts.silent == ("mixture",)
    assert row.signed_rank is None
    assert row.rank is None


def test_random_arms_of_all_seeds_are_one_control_and_the_rule_is_ranked_among_them(tmp_path: Path) -> None:
    pooled, single, others = compare_runs(
        runs_of(tmp_path, 1), "merit-1d", ["random-2", "random-2-s1", "random-4"]
    ).rows
    assert pooled.pooled == ("random-2", "random-2-s1", "random-2-s2")
    assert pooled.difference.interval.value == pytest.approx(-0.06, abs=0.01)
    assert pooled.difference.counts.covered == ("partition", "task", "item")
    assert pooled.rank is not None
    assert (pooled.rank.ranks, pooled.rank.randoms, pooled.rank.p_value) == ((1.0,), (3,), 0.25)
    assert single.pooled == ("random-2-s1",)
    assert single.difference.counts.silent == ("mixture", "seed", "partition")
    assert others.rank is None  # four groups, and the rule has two


def test_five_runs_have_wilcoxons_test_and_all_p_values_are_corrected_for_the_controls(tmp_path: Path) -> None:
    comparison = compare_runs(runs_of(tmp_path, 5), "merit-1d", ["joint", "random-2"])
    for row in comparison.rows:
        assert row.signed_rank is not None
        assert row.signed_rank.p_value == 0.03125
        assert row.signed_rank_holm == 0.0625
        assert row.difference.p_value <= row.holm <= 2 * row.difference.p_value
    rank = comparison.rows[1].rank
    assert rank is not None
    assert rank.p_value == pytest.approx(4.0**-5)
    assert "provided that its groups in runs of one mixture are separate draws" in rank.verdict
    assert any("(p = 0.0625 by Holm)" in verdict for verdict in comparison.rows[0].verdicts)


def test_runs_over_other_tasks_are_mixtures_and_tasks_in_several_are_a_doubt(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / name, ARMS, seed=seed, tasks=list(name))
        for seed, name in enumerate(("abcd", "efgh", "aijk"))
    ]
    (row,) = compare_runs(folders, "merit-1d", ["joint"]).rows
    assert (row.difference.counts.mixture, row.difference.counts.silent) == (3, ())
    assert row.doubts == ("Mixtures are taken as independent, but 1 of their 12 tasks stand in several.",)


def test_each_metric_takes_its_own_tasks_items_and_direction(tmp_path: Path) -> None:
    folders = runs_of(tmp_path, 5, per_task=60)
    (unseen,) = compare_runs(folders, "merit-1d", ["joint"], "unseen").rows
    assert unseen.difference.interval.value == pytest.approx(-1.0, abs=0.01)
    assert unseen.difference.counts.task == 1
    (match,) = compare_runs(folders, "merit-1d", ["joint"], "match").rows
    assert match.difference.interval.value == pytest.approx(0.1, abs=0.05)
    assert match.signed_rank is not None
    assert match.signed_rank.p_value == 0.03125


def test_what_holm_takes_back_is_said_beside_the_interval(tmp_path: Path) -> None:
    arms = {"merit-1d": 0.45, "joint": 0.5, "joint-2": 0.5, "start": 0.5}
    folder = write_run(tmp_path / "run", arms, noise=0.1, seed=7)
    (first, *_) = compare_runs([folder], "merit-1d", ["joint", "joint-2", "start"]).rows
    assert first.difference.p_value < 0.05 < first.holm
    assert "is below zero" in first.verdicts[0]
    assert "may be chance" in first.verdicts[1]
    (alone,) = compare_runs([folder], "merit-1d", ["joint"]).rows
    assert not any("may be chance" in verdict for verdict in alone.verdicts)


def test_the_same_command_gives_the_same_json(tmp_path: Path) -> None:
    folders = runs_of(tmp_path, 2)
    once, again = (compare_runs(folders, "merit-1d", ["joint", "random-2"]).as_json() for _ in range(2))
    assert json.dumps(once, allow_nan=False) == json.dumps(again, allow_nan=False)
    assert once["rows"][1]["levels"] == {"covered": ["seed", "partition", "task", "item"], "silent": ["mixture"]}


def test_arms_evaluated_on_other_items_are_not_compared(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"joint": 0.5}, seed=0)
    write_run(folder, {"merit-1d": 0.5}, seed=1, recipe=["joint", "merit-1d"])
    with pytest.raises(InputError, match="were evaluated on other items"):
        compare_runs([folder], "merit-1d", ["joint"])


@pytest.mark.parametrize(
    ("arm", "controls", "metric", "said"),
    [
        ("merit-3d", ["joint"], "loss", r"run .*run0 has no arm 'merit-3d'; its arms are: joint, merit-1d, random-2, "),
        ("merit-1d", ["random-8"], "loss", "has no arm 'random-8'"),
        ("merit-1d", ["merit-1d"], "loss", "is the arm itself"),
        ("merit-1d", ["joint", "joint"], "loss", "given twice"),
        ("merit-1d", ["joint"], "speed", "unknown metric 'speed'; take one of: loss, unseen, match"),
        ("merit-1d", ["joint"], "match", "has no match for task 'a'"),
    ],
)
def test_what_cannot_be_compared_is_named(
    tmp_path: Path, arm: str, controls: list[str], metric: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        compare_runs(runs_of(tmp_path, 1, generated=False), arm, controls, metric)


@pytest.mark.parametrize(
    ("arm", "control", "ranked"),
    [
        ("merit-1d", "random-2", True),
        ("merit-1d+ties@0.8", "random-2+ties@0.8", True),
        ("merit-1d-uniform", "random-2-uniform", True),
        ("merit-1d", "random-2-uniform", False),
        ("merit-1d-uniform", "random-2", False),
        ("merit-1d+ties", "random-2+ties@0.8", False),
        ("merit-1d@fitted", "random-2", False),
        ("iid-2", "random-2", False),
        ("soup-2", "random-2", False),
        ("joint-stratified-merit-1d", "random-2", False),
    ],
)
def test_only_a_rules_arm_that_is_merged_and_scaled_as_the_random_ones_is_ranked_among_them(
    tmp_path: Path, arm: str, control: str, ranked: bool
) -> None:
    arms = {arm: 0.4, control: 0.5, control.replace("random-2", "random-2-s1"): 0.6}
    folder = write_run(tmp_path / "run", arms, branches={"merit-1d": 2})
    # Two branches stand under every arm's name; that alone makes no partition.
    write_json(RunDirectory(folder).arm(arm) / "arm.json", {"branches": ["0", "1"]})
    (row,) = compare_runs([folder], arm, [control]).rows
    assert len(row.pooled) == 2
    assert (row.rank is not None) == ranked


def test_evaluations_of_an_earlier_recipe_are_neither_pooled_nor_found(tmp_path: Path) -> None:
    recipe = ["merit-1d", "random-2", "random-2-s2", "random-4", "joint-2"]
    folder = write_run(tmp_path / "run", ARMS, recipe=recipe)
    (row,) = compare_runs([folder], "merit-1d", ["random-2"]).rows
    assert row.pooled == ("random-2", "random-2-s2")
    for arm, control in (("merit-1d", "random-2-s1"), ("joint", "random-2")):
        with pytest.raises(InputError, match=f"its arms are: {', '.join(recipe)}$"):
            compare_runs([folder], arm, [control])
    with pytest.raises(InputError, match="has not evaluated 'joint-2' yet"):
        compare_runs([folder], "merit-1d", ["joint-2"])


def test_a_run_given_twice_or_without_a_recipe_or_with_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (folder,) = runs_of(tmp_path, 1)
    with pytest.raises(InputError, match="given twice"):
        compare_runs([folder, tmp_path / "x" / ".." / folder.name], "merit-1d", ["joint"])
    with pytest.raises(InputError, match=r"is no run directory: it has no config\.toml"):
        compare_runs([tmp_path], "merit-1d", ["joint"])
    path = RunDirectory(folder).evaluation("joint")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"joint.npz is damaged"):
        compare_runs([folder], "merit-1d", ["joint"])
    for damaged in ("arms = [", "seed = 0", "arms = 3"):
        RunDirectory(folder).config.write_text(damaged)
        with pytest.raises(InputError, match=r"config.toml is damaged \(.+\); run the recipe"):
            compare_runs([folder], "merit-1d", ["joint"])
