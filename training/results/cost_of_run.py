"""Read what a run recorded of its cost, and put every arm beside the methods that a team would otherwise use."""

import fnmatch
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from training.arms.arm import Arm, Whole
from training.branches.data_order import step_indices
from training.branches.spec import BranchSpec
from training.config import Recipe
from training.errors import InputError
from training.keyed_tensors import stored_seconds
from training.merge.operators.drift_corrected import DriftCorrected
from training.merge.safetensors_file import open_tensors
from training.mixture import Task
from training.results.cost import (
    BranchCost,
    Cost,
    CostTable,
    Crossover,
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
)
from training.run_directory import BranchDirectory, RunDirectory, read_json, write_json

WITHOUT_GRADIENTS = ("random", "given")
"""Kinds of rules that divide tasks without looking at a gradient."""
LAYER = re.compile(r"(?P<stack>.*?)\.(?P<number>\d+)\.")
"""A parameter of a stack of layers; a layer may hold a stack of its own, such as experts."""


def cost_of_run(
    run: RunDirectory,
    recipe: Recipe,
    tasks: Sequence[Task],
    arms: Sequence[Arm],
    specs: Mapping[str, Sequence[BranchSpec]],
) -> CostTable:
    """The cost of every trained arm and of what stands beside it; written to ``cost.json``.

    Needs the branches' ``done.json`` and the start's weights; branches' own weights may be gone.
    """
    stages = _stage_seconds(run.events)
    trained = [arm for arm in arms if not arm.untrained]
    if not trained:
        table = CostTable(None, (), (), stages, None, _hardware(run))
    else:
        table = _RunCosts(run, recipe, tasks, trained, specs, stages).table()
    write_json(run.cost, table.as_json())
    return table


class _RunCosts:
    def __init__(
        self,
        run: RunDirectory,
        recipe: Recipe,
        tasks: Sequence[Task],
        arms: Sequence[Arm],
        specs: Mapping[str, Sequence[BranchSpec]],
        stages: dict[str, Cost],
    ) -> None:
        self.run, self.recipe, self.tasks, self.arms, self.specs = run, recipe, tasks, arms, specs
        self.stages = stages
        first = specs[arms[0].name][0]
        self.model = model_size(run.start, first)
        self.device = read_json(BranchDirectory(run.branch(first.hash)).done)["device"]
        self.branches = {arm.name: [self._branch(spec, arm) for spec in specs[arm.name]] for arm in arms}

    def _branch(self, spec: BranchSpec, arm: Arm) -> BranchCost:
        paths = BranchDirectory(self.run.branch(spec.hash))
        done = read_json(paths.done)
        sent = sum(path.stat().st_size for path in paths.model.glob("*.safetensors")) or self.model.stored
        if arm.reads_second_moments(spec.settings.optimizer) and paths.second_moments.exists():
            sent += paths.second_moments.stat().st_size
        return BranchCost(done["seconds"], done["peak_memory_bytes"], sent)

    def table(self) -> CostTable:
        joint = self._joint()
        methods = {arm.name: self._method(arm) for arm in self.arms}
        counts = sorted({method.machines for method in methods.values() if method.machines > 1}) or [1]
        beside: list[MethodCost] = []
        crossovers: list[Crossover | None] = []
        for machines in counts:
            joints = [joint, *self._large_batch(machines)]
            beside += [data_parallel(reference, self.model, machines) for reference in joints]
            beside += [pcgrad(joint, self.model, machines), gradnorm(joint, self.model, machines)]
            crossovers += [
                crossover(methods[arm.name], self.branches[arm.name], reference, self.model)
                for arm in self._distinct(machines)
                for reference in joints
            ]
        return CostTable(
            model=self.model,
            methods=(*methods.values(), *beside),
            crossovers=tuple(found for found in crossovers if found is not None),
            stage_seconds=self.stages,
            rest_bytes=computed(
                joint.peak_memory_bytes.value - self.model.states,
                f"peak of {joint.name} − weights − gradient − optimiser state",
            ),
            hardware=f"{_hardware(self.run)}, {self.device}",
        )

    def _distinct(self, machines: int) -> list[Arm]:
        """The arms of so many branches, each set of branches once, as the first of its arms merges it."""
        found = {arm.branches_name: arm for arm in reversed(self.arms) if len(self.specs[arm.name]) == machines > 1}
        return list(reversed(found.values()))

    def _method(self, arm: Arm) -> MethodCost:
        around, passes = self._seconds_around(arm), self._passes_around(arm)
        known = None if None in around else [part for part in around if part is not None]
        extra = measured(0, "none")
        if passes:
            how = computed if any(part.how == "computed" for part in passes) else measured
            extra = how(sum(part.value for part in passes), " + ".join(part.formula for part in passes))
        return arm_cost(arm.name, self.model, self.branches[arm.name], known, extra)

    def _seconds_around(self, arm: Arm) -> list[Cost | None]:
        """What an arm takes besides its branches; None for what the run did not record."""
        seconds = [self.stages.get("conflicts")] if _looks_at_gradients(arm) else []
        merged, corrected = self.run.arm(arm.merged_name), isinstance(arm.operator, DriftCorrected)
        if arm.weights == "fitted":
            seconds.append(_recorded(self.run.fit(arm.merged_name), "fit of its weights", "seconds"))
        if corrected:
            took = stored_seconds(self.run.drift(arm.merged_name))
            seconds.append(None if took is None else measured(took, "drift pass"))
        if len(self.specs[arm.name]) > 1:
            seconds.append(_recorded(merged / "model" / "provenance.json", "merge", "output", "seconds"))
        if arm.scale == "fitted":
            seconds.append(_recorded(self.run.fit(arm.name), "fit of its scale", "seconds"))
        if arm.scale is not None:
            scaled = self.run.arm(arm.name) / "model" / "provenance.json"
            seconds.append(_recorded(scaled, "scaling", "output", "seconds"))
        return seconds

    def _passes_around(self, arm: Arm) -> list[Cost]:
        """Backward passes that an arm takes besides those of its branches."""
        passes = []
        if _looks_at_gradients(arm):
            passes.append(measured(self._calibration_passes(), "micro-batches of calibration examples in conflicts/"))
        if isinstance(arm.operator, DriftCorrected):
            batches = sum(-(-self._rows(spec) // spec.settings.batch_size) for spec in self.specs[arm.name])
            passes.append(computed(2 * batches, "2 · training examples / batch size, summed over branches"))
        if arm.fits:
            points = sum(len(read_json(self.run.fit(name))["path"]) for name in arm.fits)
            rows = sum(task.counts["validation"] for task in self.tasks)
            batches = -(-rows // self.specs[arm.name][0].settings.batch_size)
            passes.append(computed(points * batches, "points in fits/ · validation examples / batch size"))
        return passes

    def _rows(self, spec: BranchSpec) -> int:
        """Examples that a branch sees in one epoch."""
        first, every = (spec.share.index, spec.share.of) if spec.share else (0, 1)
        return sum(len(range(first, task.counts["train"], every)) for task in self.tasks if task.name in spec.tasks)

    def _calibration_passes(self) -> int:
        passes = 0
        for task in self.tasks:
            with np.load(self.run.sketches(task.name)) as file:
                passes += len(file["counts"])
        return passes

    def _joint(self) -> JointTraining:
        """Joint training as it was measured in the run, or what it would take by a measured arm."""
        names = [arm.name for arm in self.arms]
        if "joint" in names:
            return self._measured_joint("joint")
        arm = max(self.arms, key=lambda arm: len(self.specs[arm.name]))
        spec = self._joint_spec(self.specs[arm.name][0])
        branches = self.branches[arm.name]
        examples = sum(branch.examples for branch in self.specs[arm.name])
        seconds = sum(branch.seconds for branch in branches) * spec.examples / examples
        return JointTraining(
            "joint",
            spec.steps,
            computed(seconds, f"machine seconds of {arm.name} / its examples · examples of joint"),
            computed(max(branch.peak_memory_bytes for branch in branches), f"peak of {arm.name}"),
            self._tasks_in_batches(spec),
        )

    def _large_batch(self, machines: int) -> list[JointTraining]:
        """Joint training with a K-fold batch, where the run has it: it synchronises a K-th as often."""
        return [
            self._measured_joint(arm.name)
            for arm in self.arms
            if isinstance(arm.branches, Whole)
            and arm.branches == Whole(batch=machines)
            and machines > 1
            and arm.scale is None
        ]

    def _measured_joint(self, name: str) -> JointTraining:
        (spec,), (branch,) = self.specs[name], self.branches[name]
        return JointTraining(
            name,
            spec.steps,
            measured(branch.seconds, "done.json"),
            measured(branch.peak_memory_bytes, "done.json"),
            self._tasks_in_batches(spec),
        )

    def _joint_spec(self, of: BranchSpec) -> BranchSpec:
        rows = sum(task.counts["train"] for task in self.tasks)
        settings = self.recipe.branch
        changes = {
            "tasks": {task.name: task.hashes["train"] for task in self.tasks},
            "examples": max(1, round(settings.epochs * rows)),
            "settings": settings.model_copy(update={"batch_size": min(settings.batch_size, rows)}),
            "seed": self.recipe.seed,
            "strata": (),
            "share": None,
        }
        return of.model_copy(update=changes)

    def _tasks_in_batches(self, spec: BranchSpec) -> list[int]:
        rows = [task.counts["train"] for task in self.tasks]
        owner = np.repeat(np.arange(len(rows)), rows)
        return [len(set(owner[step_indices(spec, step, rows)])) for step in range(spec.steps)]


def model_size(start: Path, spec: BranchSpec) -> ModelSize:
    """Sizes of the model in the folder ``start``, from the names and shapes in its files' headers.

    Raises:
        InputError: a weight file is damaged.
    """
    files = sorted(start.glob("*.safetensors"))
    entries: dict[str, int] = {}
    for path in files:
        with open_tensors(path) as tensors:
            entries |= {name: tensor.count for name, tensor in tensors.items()}
    trainable = {
        name: count
        for name, count in entries.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in spec.trainable)
    }
    width = 8 if spec.precision == "float64" else 4
    gradient = width * sum(trainable.values())
    moments = 2 if spec.settings.optimizer == "adamw" else int(spec.settings.momentum > 0)
    return ModelSize(
        stored=sum(path.stat().st_size for path in files),
        weights=width * sum(entries.values()),
        gradient=gradient,
        last_layer=width * sum(last_layer(trainable).values()),
        optimizer=moments * gradient,
    )


def last_layer(entries: Mapping[str, int]) -> dict[str, int]:
    """The entries (elements by name) of the last layer of the largest stack; all of them where there is no stack.

    >>> last_layer({"embed.weight": 9, "layers.0.mlp": 2, "layers.1.mlp": 2, "layers.1.norm": 1})
    {'layers.1.mlp': 2, 'layers.1.norm': 1}
    """
    stacks: dict[str, dict[int, dict[str, int]]] = {}
    for name, count in entries.items():
        if found := LAYER.match(name):
            stacks.setdefault(found["stack"], {}).setdefault(int(found["number"]), {})[name] = count
    if not stacks:
        return dict(entries)
    largest = max(stacks.values(), key=lambda layers: sum(sum(layer.values()) for layer in layers.values()))
    return largest[max(largest)]


def _looks_at_gradients(arm: Arm) -> bool:
    return arm.rule is not None and arm.rule.kind not in WITHOUT_GRADIENTS


def _recorded(path: Path, what: str, *keys: str) -> Cost | None:
    """Seconds that stand in a file under keys, or None where it does not tell."""
    try:
        value = read_json(path)
        for key in keys:
            value = value[key]
    except (InputError, KeyError, TypeError):
        return None
    return None if value is None else measured(value, what)


def _hardware(run: RunDirectory) -> str:
    """Processor and cores of the run's last start, as ``environment.json`` has them."""
    environment = read_json(run.environment)
    return f"{environment['processor']}, {environment['cores']} cores"


def _stage_seconds(events: Path) -> dict[str, Cost]:
    """Seconds of every stage, in order, summed over all starts of the run, stopped ones too.

    There are none where a line is damaged: a sum over the rest would be too small.
    """
    seconds: dict[str, float] = {}
    try:
        for line in events.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            seconds[event["stage"]] = seconds.get(event["stage"], 0.0) + event["seconds"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {stage: measured(round(total, 3), f"{stage} stage") for stage, total in seconds.items()}
