"""What an arm costs, beside joint training over as many machines, PCGrad and GradNorm: formulas, and no files.

Every figure says whether it was measured in the run or computed, and from what. Machines are taken to be one per
branch, each a network link away from the one that starts and ends the training; only weights, gradients and Adam's
moments count as bytes, for sketches and examples are thousands of times smaller.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Cost:
    """One figure.

    Attributes:
        value: in the unit that its field names.
        how: measured in this run, or computed.
        formula: what it was computed from, or which files hold what was measured.
        at_least: whether a computed value leaves something out that would add to it.
    """

    value: float
    how: Literal["measured", "computed"]
    formula: str
    at_least: bool = False


def measured(value: float, where: str) -> Cost:
    """A figure read from what the run recorded."""
    return Cost(value, "measured", where)


def computed(value: float, formula: str, at_least: bool = False) -> Cost:
    """A figure that follows from others."""
    return Cost(value, "computed", formula, at_least)


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Bytes of a model in training.

    Attributes:
        stored: weights as they are kept in files and sent.
        weights: all weights in the dtype of training.
        gradient: gradient of the trainable weights, in that dtype.
        last_layer: gradient of the trainable weights of the last layer: GradNorm's W.
        optimizer: state that the optimiser keeps.
    """

    stored: int
    weights: int
    gradient: int
    last_layer: int
    optimizer: int

    @property
    def states(self) -> int:
        """Weights, gradient and optimiser state together."""
        return self.weights + self.gradient + self.optimizer


@dataclass(frozen=True, slots=True)
class JointTraining:
    """Joint training on one machine.

    Attributes:
        name: of the arm.
        steps: optimiser steps.
        seconds: of training.
        peak_memory_bytes: of the process.
        tasks_in_batches: number of tasks that each step's batch holds examples of [steps].
    """

    name: str
    steps: int
    seconds: Cost
    peak_memory_bytes: Cost
    tasks_in_batches: Sequence[int]


@dataclass(frozen=True, slots=True)
class BranchCost:
    """What one branch took: seconds and peak bytes as in its ``done.json``, and the bytes that it sends back."""

    seconds: float
    peak_memory_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class MethodCost:
    """One row of the table; None where a figure is not known.

    Attributes:
        method: name of the arm, or of what stands beside it.
        machines: one per branch.
        exchanged_bytes: sent between machines, all together: the start, what training needs, and the weights back.
        machine_bytes: of these what one machine receives as its start, sends in training, and sends back.
        synchronisations: how often machines wait for one another.
        peak_memory_bytes: of the largest training process.
        training_seconds: of the longest branch: wall-clock with a machine for each.
        machine_seconds: training of all machines together.
        seconds_to_model: wall-clock with a machine for each from the start to the finished model, with what only this
            method needs: the conflict pass, the merge, what is fitted or measured for it.
        extra_backward_passes: beyond one per batch.
    """

    method: str
    machines: int
    exchanged_bytes: Cost
    machine_bytes: Cost
    synchronisations: Cost
    peak_memory_bytes: Cost
    training_seconds: Cost
    machine_seconds: Cost
    seconds_to_model: Cost | None
    extra_backward_passes: Cost


@dataclass(frozen=True, slots=True)
class Crossover:
    """At what network speed data-parallel joint training takes as long as an arm over as many machines.

    Attributes:
        arm: its name.
        joint: name of the joint training that it is compared with.
        machines: of either.
        slower: where joint training takes longer, if it never computes and communicates at once.
        bytes_per_second: of every machine's link, where one becomes the other.
        slower_even_hidden_below: it takes longer below this speed even if all communication happens during
            computation; None where no speed is low enough.
    """

    arm: str
    joint: str
    machines: int
    slower: Literal["always", "below", "above", "never"]
    bytes_per_second: float | None
    slower_even_hidden_below: float | None


@dataclass(frozen=True, slots=True)
class CostTable:
    """What the run cost, and what other ways would have cost.

    Attributes:
        model: sizes that the formulas use; None in a run that trains nothing.
        methods: arms, then what stands beside them.
        crossovers: one per arm with several branches, and joint training beside it.
        stage_seconds: wall-clock of each stage of the run on its own machine, over all starts of its command.
        rest_bytes: of joint training's peak what is neither weights, gradient nor optimiser state.
        hardware: what it was measured on.
    """

    model: ModelSize | None
    methods: tuple[MethodCost, ...]
    crossovers: tuple[Crossover, ...]
    stage_seconds: dict[str, Cost]
    rest_bytes: Cost | None
    hardware: str

    def as_json(self) -> dict[str, Any]:
        """JSON values for ``cost.json``."""
        return asdict(self)


def arm_cost(
    name: str,
    model: ModelSize,
    branches: Sequence[BranchCost],
    around: Sequence[Cost] | None,
    extra_passes: Cost,
) -> MethodCost:
    """The cost of an arm with a machine for each branch.

    Args:
        name: of the arm.
        model: that every branch starts from.
        branches: of the arm.
        around: seconds of what the arm needs besides its branches: the conflict pass, the merge, what is fitted or
            measured for it; None where one of them is not known.
        extra_passes: backward passes of the same.
    """
    machines = len(branches)
    seconds = [branch.seconds for branch in branches]
    exchanged = machines * model.stored + sum(branch.sent_bytes for branch in branches)
    largest = model.stored + max(branch.sent_bytes for branch in branches)
    done, longest = "done.json of the branches", max(seconds)
    training = measured(longest, f"longest in {done}")
    to_model: Cost | None = training
    if around is None:
        to_model = None
    elif around:
        formula = " + ".join(["longest branch", *(part.formula for part in around)])
        to_model = computed(longest + sum(part.value for part in around), formula)
    return MethodCost(
        method=name,
        machines=machines,
        exchanged_bytes=computed(exchanged, "start to every branch + what each sends back, in file sizes"),
        machine_bytes=computed(largest, "start + what the branch sends back, in file sizes"),
        synchronisations=computed(int(machines > 1), "one merge" if machines > 1 else "nothing to merge"),
        peak_memory_bytes=measured(max(branch.peak_memory_bytes for branch in branches), f"largest in {done}"),
        training_seconds=training,
        machine_seconds=measured(sum(seconds), f"sum over {done}"),
        seconds_to_model=to_model,
        extra_backward_passes=extra_passes,
    )


def ring_bytes(machines: int, size: int) -> float:
    """Bytes that each of K machines sends in a ring all-reduce of ``size`` bytes: 2(K−1)/K · size.

    >>> ring_bytes(4, 100)
    150.0
    """
    return 2 * (machines - 1) / machines * size


def data_parallel(joint: JointTraining, model: ModelSize, machines: int) -> MethodCost:
    """Joint training whose batches are divided over machines that all-reduce the gradient in every step."""
    return _synchronous(
        f"{joint.name}, data-parallel",
        joint,
        model,
        machines,
        ring_bytes(machines, model.gradient) * joint.steps,
        "2(K−1)/K · gradient bytes · steps",
        computed(joint.peak_memory_bytes.value, f"peak of {joint.name}"),
        computed(0, "one per batch"),
    )


def pcgrad(joint: JointTraining, model: ModelSize, machines: int) -> MethodCost:
    """PCGrad (arXiv 2001.06782): a gradient for every task in the batch, kept whole until all are projected.

    Every machine all-reduces and keeps every task gradient. Sharding them would halve the bytes, to (N+1)/(2N), and
    leave each machine 1/K of the memory.
    """
    tasks, most = sum(joint.tasks_in_batches), max(joint.tasks_in_batches)
    peak = joint.peak_memory_bytes.value + most * model.gradient
    return _synchronous(
        "PCGrad",
        joint,
        model,
        machines,
        ring_bytes(machines, model.gradient) * tasks,
        "2(K−1)/K · gradient bytes · tasks in the batch, summed over steps",
        computed(
            peak,
            f"weights + gradient + optimiser state + rest of {joint.name}'s peak + {most} task gradients, the most "
            "tasks in a batch",
        ),
        computed(tasks - joint.steps, "tasks in the batch − 1, summed over steps"),
    )


def gradnorm(joint: JointTraining, model: ModelSize, machines: int) -> MethodCost:
    """GradNorm (arXiv 1711.02257): every task's gradient norm in the last layer, W, in every step.

    Tasks are passed backward one by one with their weights, and W's gradient is kept apart until its norm is taken.
    """
    tasks = sum(joint.tasks_in_batches)
    sent = ring_bytes(machines, model.gradient) * joint.steps + ring_bytes(machines, model.last_layer) * tasks
    peak = joint.peak_memory_bytes.value + model.last_layer
    return _synchronous(
        "GradNorm",
        joint,
        model,
        machines,
        sent,
        "2(K−1)/K · (gradient bytes + last layer's bytes · tasks in the batch), summed over steps",
        computed(peak, f"peak of {joint.name} + the last layer's gradient"),
        computed(tasks - joint.steps, "tasks in the batch − 1, summed over steps"),
    )


def _synchronous(
    method: str,
    joint: JointTraining,
    model: ModelSize,
    machines: int,
    sent: float,
    formula: str,
    peak: Cost,
    extra: Cost,
) -> MethodCost:
    """What every method that synchronises in every step has in common; ``sent`` is what each machine sends in all."""
    seconds = f"seconds of {joint.name}"
    wall = computed(
        joint.seconds.value / machines,
        f"{seconds} / K, with network and arithmetic on gradients free",
        at_least=True,
    )
    return MethodCost(
        method=method,
        machines=machines,
        exchanged_bytes=computed((machines + 1) * model.stored + machines * sent, f"K · ({formula}) + start · (K + 1)"),
        machine_bytes=computed(2 * model.stored + sent, f"{formula} + start + weights"),
        synchronisations=computed(joint.steps if machines > 1 else 0, f"steps of {joint.name}"),
        peak_memory_bytes=peak,
        training_seconds=wall,
        machine_seconds=computed(joint.seconds.value, seconds, at_least=True),
        seconds_to_model=wall,
        extra_backward_passes=extra,
    )


def crossover(
    arm: MethodCost, branches: Sequence[BranchCost], joint: JointTraining, model: ModelSize
) -> Crossover | None:
    """Compare an arm with data-parallel joint training over as many machines; None where the arm's time is unknown.

    At b bytes per second joint training takes t/K + s/b, where t are its seconds on one machine and s what each machine
    all-reduces; the arm takes its own seconds and (K−1)·weights/b, for all but one of the branches come back to one
    machine beside the one model that joint training sends too. The start goes to every machine in both.
    """
    if arm.seconds_to_model is None:
        return None
    machines = arm.machines
    returned = sum(branch.sent_bytes for branch in branches) - model.stored
    more_bytes = ring_bytes(machines, model.gradient) * joint.steps - returned
    more_seconds = joint.seconds.value / machines - arm.seconds_to_model.value
    hidden = more_bytes / arm.seconds_to_model.value if more_bytes > 0 else None
    if more_bytes * more_seconds >= 0:
        slower: Literal["always", "below", "above", "never"] = (
            "always" if max(more_bytes, more_seconds) > 0 else "never"
        )
        return Crossover(arm.method, joint.name, machines, slower, None, hidden)
    slower = "below" if more_bytes > 0 else "above"
    return Crossover(arm.method, joint.name, machines, slower, -more_bytes / more_seconds, hidden)
