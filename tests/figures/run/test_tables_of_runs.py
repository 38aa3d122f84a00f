from pathlib import Path

import numpy as np
import pytest

from figures.run import (
    clustering_table,
    cost_table,
    gradient_norms_table,
    operators_table,
    raw_gram_table,
    retention_table,
    scores_table,
    timing_table,
)
from figures.table import MISSING, Block, Table
from tests.figures.recorded_runs import SMALL, TASKS, all_arms, write_run
from training.errors import InputError, MissingInput
from training.run_directory import RunDirectory, read_json, write_json

OURS = "Measured here: smollm2-135m"
PAPERS = "The paper (arXiv 2606.01717)"


def rows(block: Block) -> dict[str, list[str]]:
    return {row[0]: list(row[1:]) for row in block.rows}


def written(loss: dict[str, float]) -> str:
    return f"{loss['value']:.3f} [{loss['low']:.3f}, {loss['high']:.3f}]"


def arms_of(run: RunDirectory) -> dict[str, dict]:
    return {row["arm"]: row for row in read_json(run.summary(".json"))["arms"]}


def test_scores_are_the_files_per_task_and_in_the_mean(tmp_path: Path) -> None:
    run = write_run(tmp_path, (*SMALL, "merit-1d+ties", "joint@fitted"))
    losses, matches, paper = scores_table.tabulate(run).blocks
    evaluations, arms = read_json(run.evaluation_summary), arms_of(run)
    assert set(rows(losses)) == set(SMALL)  # operators have a table of their own
    for name, cells in rows(losses).items():
        assert cells[:3] == [f"{evaluations[name]['tasks'][task]['loss']:.3f}" for task in TASKS]
        assert cells[3] == written(arms[name]["loss"])
    for name, cells in rows(matches).items():
        assert cells[:3] == [f"{100 * evaluations[name]['tasks'][task]['exact_match']:.1f}" for task in TASKS]
        assert cells[4] == MISSING  # no answers on unseen tasks
    assert losses.origin.startswith(OURS)
    assert paper.origin.startswith(PAPERS)
    assert rows(paper)["MERIT-3D"] == [MISSING, MISSING, MISSING, "57.0", MISSING]


def test_many_tasks_leave_the_means_and_no_answers_leave_no_block(tmp_path: Path) -> None:
    run = write_run(tmp_path, tasks=[f"task_{number}" for number in range(136)], generated=False)
    table = scores_table.tabulate(run)
    assert table.columns == ["method", "mean [95 %]", "unseen"]
    assert len(table.blocks) == 2
    assert "136 tasks" in table.note


@pytest.mark.parametrize(
    ("module", "row", "column", "arm"),
    [
        (clustering_table, "PCA, median cuts", 2, "merit-3d"),
        (clustering_table, "K-means", 1, "kmeans-4"),
        (clustering_table, "random, first draw", 0, "random-2"),
        (raw_gram_table, "cosine matrix", 1, "merit-2d"),
        (raw_gram_table, "Gram matrix, norms included", 2, "raw-3d"),
    ],
)
def test_a_rule_and_a_number_of_groups_name_one_arm(
    tmp_path: Path, module: object, row: str, column: int, arm: str
) -> None:
    run = write_run(tmp_path, all_arms())
    losses, matches, *_ = module.tabulate(run).blocks
    assert rows(losses)[row][column] == written(arms_of(run)[arm]["loss"])
    assert rows(matches)[row][column] == f"{100 * arms_of(run)[arm]['results']['exact_match']:.1f}"


def test_arms_that_a_run_has_not_are_dashes(tmp_path: Path) -> None:
    losses, _, paper = clustering_table.tabulate(write_run(tmp_path, (*SMALL, "kmeans-2"))).blocks
    assert set(rows(losses)) == {"PCA, median cuts", "K-means", "random, first draw"}
    assert rows(losses)["K-means"][1:] == [MISSING, MISSING]
    assert rows(paper)["K-means"] == ["55.5", "56.4", "56.5"]


def test_operators_stand_under_the_branches_they_merge_with_the_paired_difference(tmp_path: Path) -> None:
    run = write_run(
        tmp_path, (*SMALL, "merit-1d-uniform", "merit-1d+ties", "merit-1d@0.8", "merit-2d", "random-2+ties")
    )
    blocks = {block.origin.rpartition("branches of ")[2]: rows(block) for block in operators_table.tabulate(run).blocks}
    assert {plain: list(own) for plain, own in blocks.items()} == {
        "merit-1d": ["plain average", "uniform", "ties", "@0.8"],
        "random-2": ["plain average", "ties"],
    }
    (difference,) = [
        entry["loss"]
        for entry in read_json(run.summary(".json"))["differences"]
        if (entry["arm"], entry["control"]) == ("merit-1d+ties", "merit-1d")
    ]
    loss, against, *_, displacement = blocks["merit-1d"]["ties"]
    assert loss == written(arms_of(run)["merit-1d+ties"]["loss"])
    signed = "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format(**difference)
    assert against == signed.replace("-", "−")
    assert displacement == f"{arms_of(run)['merit-1d+ties']['displacement']:.2f}"
    assert blocks["merit-1d"]["plain average"][1] == MISSING


def test_norms_are_trimmed_at_both_ends(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    norms = np.random.default_rng(0).permutation(np.arange(1.0, 41.0))
    write_json(run.conflicts, {"norms": norms.tolist()})
    ours, paper = gradient_norms_table.tabulate(run).blocks
    kept = np.arange(3.0, 39.0)  # two of forty at either end
    assert rows(ours)["5 % trimmed"] == [
        "36",
        f"{kept.mean():.3f}",
        f"{kept.std(ddof=1):.3f}",
        f"{kept.std(ddof=1) / kept.mean():.2f}",
        f"{38 / 3:.2f}",
    ]
    assert [cells[3] for cells in rows(paper).values()] == ["0.39", "0.23", "0.17"]


@pytest.mark.parametrize("norms", [[2.0], [0.0, 0.0]])
def test_norms_without_a_spread_have_no_numbers_for_it(tmp_path: Path, norms: list[float]) -> None:
    run = write_run(tmp_path)
    write_json(run.conflicts, {"norms": norms})
    assert MISSING in rows(gradient_norms_table.tabulate(run).blocks[0])["raw"]


def test_costs_say_which_were_computed(tmp_path: Path) -> None:
    run = write_run(tmp_path, (*SMALL, "merit-1d+ota"))
    ours, beside = cost_table.tabulate(run).blocks
    stored = {method["method"]: method for method in read_json(run.cost)["methods"]}
    machines, memory, training, whole, *_, synchronisations, _ = rows(ours)["merit-1d"]
    assert (machines, memory) == ("2", "4.2")
    assert training == f"{stored['merit-1d']['training_seconds']['value']:.3g}"
    assert whole == f"≈ {stored['merit-1d']['seconds_to_model']['value']:.3g}"
    assert synchronisations == "1"
    assert rows(ours)["merit-1d+ota"][3] == MISSING
    assert list(rows(beside)) == ["joint, data-parallel", "PCGrad", "GradNorm"]
    assert rows(beside)["PCGrad"][2].startswith("≥ ")


@pytest.mark.parametrize("with_cost", [True, False])
def test_stages_take_the_time_that_the_run_recorded(tmp_path: Path, with_cost: bool) -> None:
    ours, paper = timing_table.tabulate(write_run(tmp_path, with_cost=with_cost)).blocks
    assert rows(ours)["branches: training of all arms"] == ["9 min 14 s" if with_cost else "4 min 37 s"]
    assert ("merit-1d, to its model" in rows(ours)) == with_cost
    assert "random-2, to its model" not in rows(ours)
    assert ours.origin.endswith("AMD EPYC, 2 cores")
    assert rows(paper)["joint training"] == ["4 h 22 min"]


def test_retention_stands_beside_joint_training(tmp_path: Path) -> None:
    run = write_run(tmp_path, retention=True)
    retention = read_json(run.summary(".json"))["retention"]
    (block,) = retention_table.tabulate(run).blocks
    loss, difference, *_ = rows(block)["merit-1d"]
    assert loss == written(retention["arms"]["merit-1d"]["loss"])
    assert difference.startswith(f"{retention['differences'][-1]['loss']['value']:+.3f} [")
    assert rows(block)["start"][1] == MISSING


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (clustering_table, "add kmeans-2"),
        (raw_gram_table, "add raw-1d"),
        (operators_table, r"add an arm such as merit-1d\+ties"),
        (gradient_norms_table, "run an arm that measures conflicts"),
        (cost_table, r"cost\.json is missing"),
        (retention_table, "--set evaluation.retention=12"),
    ],
)
def test_what_a_run_lacks_is_named_with_what_would_make_it(tmp_path: Path, module: object, sentence: str) -> None:
    run = write_run(tmp_path, with_cost=False)
    with pytest.raises(MissingInput, match=sentence):
        module.tabulate(run)


def test_damaged_files_are_not_missing_ones(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    write_json(run.conflicts, {})
    write_json(run.cost, [])
    for module in (gradient_norms_table, cost_table):
        with pytest.raises(InputError) as caught:
            module.tabulate(run)
        assert not isinstance(caught.value, MissingInput)


def test_tables_of_one_run_are_tables(tmp_path: Path) -> None:
    run = write_run(tmp_path, all_arms(), retention=True)
    for module in (scores_table, clustering_table, raw_gram_table, operators_table, cost_table, retention_table):
        assert isinstance(module.tabulate(run), Table)
