from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.results.cost import (
    BranchCost,
    Cost,
    CostTable,
    JointTraining,
    MethodCost,
    ModelSize,
    arm_cost,
    computed,
    crossover,
    data_parallel,
    gradnorm,
    measured,
    pcgrad,
    ring_bytes,
)

MODEL = ModelSize(stored=100, weights=200, gradient=160, last_layer=16, optimizer=320)
JOINT = JointTraining("joint", 3, measured(60.0, "done.json"), measured(1000, "done.json"), [2, 4, 3])
BRANCHES = [BranchCost(20.0, 700, 100), BranchCost(30.0, 600, 110)]
NO_PASSES = measured(0, "none")
SYNCHRONOUS = (data_parallel, pcgrad, gradnorm)


def arm(seconds: float, branches: Sequence[BranchCost] = BRANCHES) -> MethodCost:
    longest = max(branch.seconds for branch in branches)
    return arm_cost(
        "m", MODEL, branches, [measured(seconds - longest, "conflicts stage")], measured(5, "micro-batches")
    )


def figures(row: MethodCost) -> dict[str, float]:
    names = [name for name in MethodCost.__slots__ if name not in ("method", "machines")]
    return {name: getattr(row, name).value for name in names}


def test_a_ring_sends_each_chunk_once_around_to_add_and_once_around_to_copy() -> None:
    for machines in (1, 2, 3, 8):
        chunks = [24 // machines] * machines
        sent = sum(chunks[0] for _ in range(machines - 1)) + sum(chunks[0] for _ in range(machines - 1))
        assert ring_bytes(machines, 24) == sent


def test_an_arm_sends_weights_twice_and_waits_for_its_longest_branch() -> None:
    assert figures(arm(42.0)) == {
        "exchanged_bytes": 2 * 100 + 100 + 110,
        "machine_bytes": 100 + 110,
        "synchronisations": 1,
        "peak_memory_bytes": 700,
        "training_seconds": 30.0,
        "machine_seconds": 50.0,
        "seconds_to_model": 42.0,
        "extra_backward_passes": 5,
    }


def test_an_arm_with_one_branch_and_nothing_around_it_is_measured_to_its_model() -> None:
    row = arm_cost("joint", MODEL, BRANCHES[:1], [], NO_PASSES)
    assert row.seconds_to_model == row.training_seconds
    assert row.training_seconds.how == "measured"
    assert row.synchronisations.value == 0
    assert arm_cost("joint", MODEL, BRANCHES[:1], None, NO_PASSES).seconds_to_model is None


def test_joint_training_over_machines_sends_its_gradient_around_in_every_step() -> None:
    row = data_parallel(JOINT, MODEL, 4)
    ring = 2 * 3 / 4 * 160 * 3
    assert figures(row) == {
        "exchanged_bytes": 4 * ring + 4 * 100 + 100,
        "machine_bytes": ring + 100 + 100,
        "synchronisations": 3,
        "peak_memory_bytes": 1000,
        "training_seconds": 15.0,
        "machine_seconds": 60.0,
        "seconds_to_model": 15.0,
        "extra_backward_passes": 0,
    }


def test_pcgrad_sends_every_tasks_gradient_and_keeps_those_of_the_fullest_batch() -> None:
    row = pcgrad(JOINT, MODEL, 2)
    assert row.machine_bytes.value == 160 * (2 + 4 + 3) + 200
    assert row.peak_memory_bytes.value == 1000 + 4 * 160
    assert row.extra_backward_passes.value == 1 + 3 + 2


def test_gradnorm_adds_the_last_layers_gradients_to_joint_training() -> None:
    row, joint = gradnorm(JOINT, MODEL, 2), data_parallel(JOINT, MODEL, 2)
    assert row.machine_bytes.value - joint.machine_bytes.value == 16 * (2 + 4 + 3)
    assert row.peak_memory_bytes.value == 1000 + 16
    assert row.extra_backward_passes.value == 6


def test_with_one_task_in_every_batch_pcgrad_exchanges_what_joint_training_does() -> None:
    single = replace(JOINT, tasks_in_batches=[1, 1, 1])
    ours, theirs = figures(pcgrad(single, MODEL, 3)), figures(data_parallel(single, MODEL, 3))
    assert ours.pop("peak_memory_bytes") == theirs.pop("peak_memory_bytes") + 160
    assert ours == theirs


@pytest.mark.parametrize("method", SYNCHRONOUS)
def test_on_one_machine_only_the_start_and_the_weights_travel(method: Any) -> None:
    row = method(JOINT, MODEL, 1)
    assert row.exchanged_bytes.value == row.machine_bytes.value == 200
    assert row.synchronisations.value == 0
    assert row.training_seconds.at_least


# --- crossover --------------------------------------------------------------------------------------------------------


def seconds_of_joint(joint: JointTraining, machines: int, speed: float, hidden: bool) -> float:
    computing = joint.seconds.value / machines
    sending = joint.steps * ring_bytes(machines, MODEL.gradient) / speed
    both = max(computing, sending) if hidden else computing + sending
    return both + (machines * MODEL.stored + MODEL.stored) / speed


def seconds_of_arm(row: MethodCost, branches: Sequence[BranchCost], speed: float) -> float:
    assert row.seconds_to_model is not None
    sent = sum(branch.sent_bytes for branch in branches)
    return row.seconds_to_model.value + (row.machines * MODEL.stored + sent) / speed


@settings(max_examples=100)
@given(
    machines=st.integers(2, 5),
    steps=st.integers(1, 9),
    joint_seconds=st.integers(1, 200),
    arm_seconds=st.integers(40, 90),
    sent=st.integers(50, 900),
    speed=st.floats(0.01, 1e4),
)
def test_joint_training_takes_longer_exactly_where_the_crossover_says(
    machines: int, steps: int, joint_seconds: int, arm_seconds: int, sent: int, speed: float
) -> None:
    branches = [BranchCost(30.0, 1, sent)] * machines
    joint = replace(JOINT, steps=steps, seconds=measured(joint_seconds, "done.json"))
    row = arm(arm_seconds, branches)
    found = crossover(row, branches, joint, MODEL)
    assert found is not None
    ours = seconds_of_arm(row, branches, speed)
    longer = seconds_of_joint(joint, machines, speed, hidden=False) - ours
    noise = 1e-9 * ours
    if found.slower == "always":
        assert longer > -noise
    elif found.slower == "never":
        assert longer < noise
    else:
        assert found.bytes_per_second is not None
        below = speed < found.bytes_per_second
        assert (longer > -noise) if below == (found.slower == "below") else (longer < noise)
        speed = found.bytes_per_second
        at = seconds_of_joint(joint, machines, speed, hidden=False)
        assert at == pytest.approx(seconds_of_arm(row, branches, speed))
    if found.slower_even_hidden_below is not None:
        speed = found.slower_even_hidden_below * 0.999
        assert seconds_of_joint(joint, machines, speed, hidden=True) > seconds_of_arm(row, branches, speed)


def test_communication_that_hides_needs_a_slower_network_to_be_felt() -> None:
    found = crossover(arm(60.0), BRANCHES, JOINT, MODEL)
    assert found is not None
    assert found.slower == "below"
    # 3 steps of 160 bytes, less the second branch's 110, over 60 − 30 seconds, or over 60.
    assert found.bytes_per_second == pytest.approx((480 - 110) / 30)
    assert found.slower_even_hidden_below == pytest.approx((480 - 110) / 60)


def test_an_arm_of_unknown_duration_is_not_compared() -> None:
    unknown = arm_cost("m", MODEL, BRANCHES, None, NO_PASSES)
    assert crossover(unknown, BRANCHES, JOINT, MODEL) is None


def every_cost(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value] if "how" in value else [cost for entry in value.values() for cost in every_cost(entry)]
    return [cost for entry in value for cost in every_cost(entry)] if isinstance(value, list | tuple) else []


def test_every_figure_of_the_file_says_how_it_came_about_and_from_what() -> None:
    rows = (arm(42.0), *(method(JOINT, MODEL, 2) for method in SYNCHRONOUS))
    stages = {"merge": measured(2.0, "merge stage")}
    table = CostTable(MODEL, rows, (), stages, computed(320, "peak − states"), "a processor")
    costs = every_cost(table.as_json())
    assert len(costs) == 4 * 8 + 2
    assert all(cost["how"] in ("measured", "computed") and cost["formula"] for cost in costs)
    assert {cost["at_least"] for cost in costs if cost["how"] == "measured"} == {False}
    assert Cost(2.0, "measured", "merge stage") == stages["merge"]
