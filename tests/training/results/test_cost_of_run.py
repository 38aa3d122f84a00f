from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from training.arms.names import parse_arm
from training.branches.metrics import append_line
from training.branches.spec import BranchSpec
from training.config import BranchSettings, Recipe
from training.keyed_tensors import save_keyed_tensors
from training.mixture import Task
from training.results.cost import CostTable, MethodCost
from training.results.cost_of_run import cost_of_run, last_layer, model_size
from training.run_directory import BranchDirectory, RunDirectory, read_json, write_json

ROWS = {"a": 6, "b": 2, "c": 4}
SETTINGS = BranchSettings(batch_size=4)
TENSORS = {"embed": 5, "layers.9.w": 3, "layers.10.w": 4, "layers.10.norm": 2, "vision.layers.30.w": 1}
ARMS = ("start", "joint", "joint-equal-steps-2", "merit-1d", "merit-1d+ota", "random-2")


def make_spec(tasks: Sequence[str], seed: int = 0, **changes: Any) -> BranchSpec:
    values = {
        "tasks": dict.fromkeys(tasks, "hash"),
        "split": "train",
        "start": "start",
        "trainable": ["*"],
        "objective": "cross-entropy",
        "precision": "float32",
        "max_length": None,
        "seed": seed,
        "examples": sum(ROWS[task] for task in tasks),
        "settings": SETTINGS,
        "sketch_size": 16,
        "sketch_seed": 0,
    }
    return BranchSpec.model_validate(values | changes)


LARGE = make_spec("abc", settings=SETTINGS.model_copy(update={"batch_size": 8}))
SPECS = {
    "start": [],
    **{name: [make_spec("abc")] for name in ("joint", "joint@0.8", "joint@fitted")},
    "joint-equal-steps-2": [LARGE],
    "merit-1d": [make_spec("a"), make_spec("bc")],
    "merit-1d+ota": [make_spec("a", second_moments="full"), make_spec("bc", second_moments="full")],
    **{
        name: [make_spec("a"), make_spec("bc")]
        for name in ("merit-1d+fitted", "merit-1d+fitted@0.8", "merit-1d@fitted")
    },
    "merit-1d+drift-corrected": [make_spec("a"), make_spec("bc")],
    "joint-stratified-merit-1d": [make_spec("abc", strata=(("a",), ("b", "c")))],
    "iid-2": [make_spec("abc", share={"index": index, "of": 2, "seed": 0}, examples=18) for index in (0, 1)],
    "soup-2": [make_spec("abc"), make_spec("abc", seed=1)],
    "random-2": [make_spec("ab", seed=1), make_spec("c", seed=1)],
}
MERGE_SECONDS = {
    "merit-1d": 0.5,
    "merit-1d+ota": 0.25,
    "merit-1d+fitted": 0.75,
    "merit-1d+drift-corrected": 1.5,
    "random-2": 0.125,
    "joint@0.8": 2.5,
    "joint@fitted": 2.25,
    "merit-1d+fitted@0.8": 3.5,
    "merit-1d@fitted": 4.5,
}
FITS = {"joint@fitted": 64.0, "merit-1d+fitted": 32.0, "merit-1d@fitted": 16.0}
SECONDS = {"abc": 20.0, "a": 6.0, "bc": 8.0, "ab": 9.0, "c": 3.0}


def write_run(root: Path) -> RunDirectory:
    run = RunDirectory(root)
    run.start.mkdir(parents=True)
    save_file({name: np.zeros(count, np.float32) for name, count in TENSORS.items()}, run.start / "m.safetensors")
    write_json(run.environment, {"processor": "p", "cores": 2})
    for specs in SPECS.values():
        for spec in specs:
            folder = BranchDirectory(run.branch(spec.hash))
            tasks = "".join(spec.tasks)
            done = {"seconds": SECONDS[tasks], "peak_memory_bytes": 1000 + len(tasks), "device": "cpu"}
            write_json(folder.done, done)
            if spec.second_moments != "none":
                folder.second_moments.write_bytes(b"x" * 7)
    for name, seconds in MERGE_SECONDS.items():
        write_json(run.arm(name) / "model" / "provenance.json", {"output": {"seconds": seconds}})
    save_keyed_tensors(run.drift("merit-1d+drift-corrected"), "key", {"weight": torch.zeros(1)}, 128.0)
    # What is linked to a branch keeps that branch's files, among which is no merge of the arm's.
    write_json(run.arm("joint") / "model" / "provenance.json", {"output": {"seconds": 1000.0}})
    for name, seconds in FITS.items():
        write_json(run.fit(name), {"seconds": seconds, "path": [{}] * 3})
    for name in ROWS:
        run.sketches(name).parent.mkdir(exist_ok=True)
        np.savez(run.sketches(name), counts=np.ones(2))
    for stage, outcome, seconds in (("conflicts", "stopped", 1.0), ("conflicts", "done", 4.0), ("merge", "done", 6.0)):
        append_line(run.events, stage=stage, outcome=outcome, seconds=seconds)
    return run


def table_of(
    run: RunDirectory, names: Sequence[str] = ARMS, specs: Mapping[str, Sequence[BranchSpec]] = SPECS
) -> CostTable:
    recipe = Recipe(mixture={"tasks": ["x"]}, arms=list(names), branch=SETTINGS)
    tasks = [
        Task(name, run.root, {}, "equality", {"train": "hash"}, {"train": rows, "validation": 3})
        for name, rows in ROWS.items()
    ]
    arms = [parse_arm(name, {}) for name in names]
    return cost_of_run(run, recipe, tasks, arms, {name: specs[name] for name in names})


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, dict[str, MethodCost], CostTable]:
    run = write_run(tmp_path_factory.mktemp("run"))
    table = table_of(run)
    return run, {row.method: row for row in table.methods}, table


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return write_run(tmp_path_factory.mktemp("recorded"))


def stored(run: RunDirectory) -> int:
    return (run.start / "m.safetensors").stat().st_size


def test_trained_arms_come_first_and_beside_them_what_uses_as_many_machines(case: Any) -> None:
    _, _, table = case
    beside = ["joint, data-parallel", "joint-equal-steps-2, data-parallel", "PCGrad", "GradNorm"]
    assert [row.method for row in table.methods] == [*ARMS[1:], *beside]
    assert [row.machines for row in table.methods] == [1, 1, 2, 2, 2, 2, 2, 2, 2]


def test_only_arms_that_look_at_gradients_pay_for_the_conflict_pass_of_all_starts(case: Any) -> None:
    _, rows, table = case
    assert table.stage_seconds["conflicts"].value == 5.0
    assert rows["merit-1d"].seconds_to_model.value == 8.0 + 5.0 + 0.5
    assert rows["random-2"].seconds_to_model.value == 9.0 + 0.125
    assert rows["joint"].seconds_to_model == rows["joint"].training_seconds
    assert [rows[name].extra_backward_passes.value for name in ("merit-1d", "random-2")] == [6, 0]


@pytest.mark.parametrize(
    ("arm", "seconds"),
    [
        ("joint", 20.0),
        ("joint@0.8", 20.0 + 2.5),
        ("joint@fitted", 20.0 + 64.0 + 2.25),
        ("joint-stratified-merit-1d", 20.0 + 5.0),
        ("merit-1d+ota", 8.0 + 5.0 + 0.25),
        ("merit-1d+fitted", 8.0 + 5.0 + 32.0 + 0.75),
        ("merit-1d+fitted@0.8", 8.0 + 5.0 + 32.0 + 0.75 + 3.5),
        ("merit-1d@fitted", 8.0 + 5.0 + 0.5 + 16.0 + 4.5),
        ("merit-1d+drift-corrected", 8.0 + 5.0 + 128.0 + 1.5),
    ],
)
def test_an_arm_pays_for_its_own_merge_fits_and_drift_whatever_else_the_run_merges(
    recorded: RunDirectory, arm: str, seconds: float
) -> None:
    for beside in ([], ["random-2"]):
        row = table_of(recorded, [arm, *beside]).methods[0]
        assert row.seconds_to_model is not None
        assert row.seconds_to_model.value == seconds


@pytest.mark.parametrize(
    ("arm", "passes", "how"),
    [
        # Six micro-batches of the conflict pass; branches of 6 and of 2 + 4 rows in batches of 4.
        ("merit-1d", 6, "measured"),
        ("joint-stratified-merit-1d", 6, "measured"),
        ("merit-1d+drift-corrected", 6 + 2 * (2 + 2), "computed"),
        # Three points, at each nine validation rows in batches of 4.
        ("joint@fitted", 3 * 3, "computed"),
        ("merit-1d+fitted@0.8", 6 + 3 * 3, "computed"),
        ("joint@0.8", 0, "measured"),
    ],
)
def test_backward_passes_of_drifts_and_fits_are_counted_too(
    recorded: RunDirectory, arm: str, passes: int, how: str
) -> None:
    extra = table_of(recorded, [arm]).methods[0].extra_backward_passes
    assert (extra.value, extra.how) == (passes, how)


def test_the_drift_pass_sees_each_row_of_a_share_once_whatever_the_epochs(recorded: RunDirectory) -> None:
    run, name = recorded, "iid-2+drift-corrected"
    write_json(run.arm(name) / "model" / "provenance.json", {"output": {"seconds": 1.0}})
    save_keyed_tensors(run.drift(name), "key", {"weight": torch.zeros(1)}, 2.0)
    (row, *_) = table_of(run, [name], {name: SPECS["iid-2"]}).methods
    assert row.extra_backward_passes.value == 2 * (2 + 2)  # 6 of 12 rows each, in batches of 4


def test_second_moments_are_sent_where_the_merge_reads_them(case: Any) -> None:
    run, rows, _ = case
    assert rows["merit-1d"].exchanged_bytes.value == 4 * stored(run)
    assert rows["merit-1d+ota"].exchanged_bytes.value == 4 * stored(run) + 2 * 7


def test_a_branchs_own_file_is_what_it_sends_while_it_is_there(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    model = BranchDirectory(run.branch(SPECS["random-2"][0].hash)).model
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"x" * 50)
    (row, *_) = table_of(run, ["random-2"]).methods
    assert row.exchanged_bytes.value == 3 * stored(run) + 50


def test_tasks_are_counted_in_the_batches_that_joint_training_takes(case: Any) -> None:
    _, rows, table = case
    assert rows["joint, data-parallel"].synchronisations.value == 3
    assert rows["joint-equal-steps-2, data-parallel"].synchronisations.value == 2
    tasks = rows["PCGrad"].extra_backward_passes.value + 3
    assert 6 <= tasks <= 9  # 12 examples of 3 tasks in batches of 4, one task has 2 and fits in one batch
    gradient = table.model.gradient
    assert rows["PCGrad"].machine_bytes.value == 2 * table.model.stored + tasks * gradient


def test_a_batch_of_everything_holds_all_tasks(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    whole = make_spec("abc", settings=SETTINGS.model_copy(update={"batch_size": 12}))
    folder = BranchDirectory(run.branch(whole.hash))
    write_json(folder.done, {"seconds": 1.0, "peak_memory_bytes": 1000, "device": "cpu"})
    recipe = Recipe(mixture={"tasks": ["x"]}, arms=["joint"])
    tasks = [Task(name, run.root, {}, "equality", {"train": "hash"}, {"train": rows}) for name, rows in ROWS.items()]
    rows = cost_of_run(run, recipe, tasks, [parse_arm("joint", {})], {"joint": [whole]}).methods
    assert {row.method: row.extra_backward_passes.value for row in rows} == {
        "joint": 0,
        "joint, data-parallel": 0,
        "PCGrad": 2,
        "GradNorm": 2,
    }


def test_without_joint_training_its_time_follows_from_the_examples_of_an_arm(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    rows = {row.method: row for row in table_of(run, ["random-2"]).methods}
    joint = rows["joint, data-parallel"]
    assert joint.machine_seconds.value == 9.0 + 3.0
    assert joint.synchronisations.value == 3
    assert joint.peak_memory_bytes.value == 1002
    (row,) = [row for row in table_of(run, ["soup-2"]).methods if row.method == "joint, data-parallel"]
    assert row.machine_seconds.value == 20.0  # half of what two branches over the whole mixture took


@pytest.mark.parametrize("arm", ["joint@fitted", "merit-1d+drift-corrected", "random-2", "joint@0.8"])
def test_no_time_to_the_model_is_given_where_a_part_of_it_was_not_recorded(tmp_path: Path, arm: str) -> None:
    run = write_run(tmp_path)
    for fit in FITS:
        write_json(run.fit(fit), {"path": [{}] * 3})
    run.drift("merit-1d+drift-corrected").unlink()
    for name in ("random-2", "joint@0.8"):
        (run.arm(name) / "model" / "provenance.json").unlink()
    assert table_of(run, [arm]).methods[0].seconds_to_model is None


def test_arms_that_share_their_branches_are_compared_once_with_each_joint_training(case: Any) -> None:
    _, _, table = case
    pairs = [(found.arm, found.joint) for found in table.crossovers]
    assert pairs == [(arm, joint) for arm in ("merit-1d", "random-2") for joint in ("joint", "joint-equal-steps-2")]


@pytest.mark.parametrize("damage", ["gone", "cut", "no JSON", "no event", "no text"])
def test_an_arm_whose_stages_left_no_event_that_can_be_read_has_no_time_to_its_model(
    tmp_path: Path, damage: str
) -> None:
    run = write_run(tmp_path)
    whole = run.events.read_bytes()
    run.events.unlink()
    if damage != "gone":
        other = {"cut": whole[:-9], "no JSON": whole + b"{\n", "no event": whole + b"[3]\n", "no text": whole + b"\xff"}
        run.events.write_bytes(other[damage])
    table = table_of(run)
    assert {row.method for row in table.methods if row.seconds_to_model is None} == {"merit-1d", "merit-1d+ota"}
    assert {found.arm for found in table.crossovers} == {"random-2"}
    assert table.stage_seconds == {}


def test_a_run_that_trains_nothing_has_stages_alone(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    table = table_of(run, ["start"])
    assert (table.methods, table.crossovers, table.model) == ((), (), None)
    assert list(table.stage_seconds) == ["conflicts", "merge"]
    assert read_json(run.cost)["methods"] == []


def test_the_file_holds_the_table(case: Any) -> None:
    run, rows, _ = case
    written = {row["method"]: row for row in read_json(run.cost)["methods"]}
    assert list(written) == list(rows)
    assert written["merit-1d"]["training_seconds"] == {
        "value": 8.0,
        "how": "measured",
        "formula": rows["merit-1d"].training_seconds.formula,
        "at_least": False,
    }


@pytest.mark.parametrize(
    ("changes", "gradient", "weights", "last", "optimizer"),
    [
        ({}, 60, 60, 24, 120),
        ({"precision": "float64"}, 120, 120, 48, 240),
        ({"trainable": ["layers.*", "embed"]}, 56, 60, 24, 112),
        ({"settings": BranchSettings(optimizer="sgd")}, 60, 60, 24, 0),
        ({"settings": BranchSettings(optimizer="sgd", momentum=0.9)}, 60, 60, 24, 60),
    ],
)
def test_sizes_are_those_of_what_is_trained_in_the_arithmetic_of_training(
    tmp_path: Path, changes: dict[str, Any], gradient: int, weights: int, last: int, optimizer: int
) -> None:
    run = write_run(tmp_path)
    size = model_size(run.start, make_spec("a", **changes))
    assert (size.gradient, size.weights, size.last_layer, size.optimizer) == (gradient, weights, last, optimizer)
    assert size.stored == stored(run)


def test_the_last_layer_is_the_highest_number_of_the_largest_stack() -> None:
    assert last_layer(TENSORS) == {"layers.10.w": 4, "layers.10.norm": 2}
    assert last_layer({"head.weight": 3}) == {"head.weight": 3}
    nested = {
        "h.2.experts.0.w": 1,
        "h.2.attention": 9,
        "h.10.attention": 9,
        "h.10.experts.0.w": 1,
        "h.10.experts.1.w": 1,
    }
    assert set(last_layer(nested)) == {"h.10.attention", "h.10.experts.0.w", "h.10.experts.1.w"}
