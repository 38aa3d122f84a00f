"""What the arms of a run are merged from, in which order, and what is fitted or measured for it first.

Weights per branch are fitted before the merge that uses them and a scale after the merge it scales. A fitted or scaled
arm trains nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.arms.arm import Arm
from training.branches.spec import TOKENS_PER_ROW, BranchSpec
from training.config import Recipe, StartSettings
from training.launch.job import Job, Launcher
from training.merge.operator import Operator
from training.merge.operators.drift_corrected import DriftCorrected
from training.merge.operators.task_arithmetic import TaskArithmetic
from training.merge.weights import token_weights, uniform_weights
from training.mixture import Mixture
from training.model.start import PlacedModel
from training.run_directory import BranchDirectory, RunDirectory, content_hash, read_json

FIT_REVISION = 3
DRIFT_REVISION = 3
"""Count changes of what a fit or a drift pass computes, so that a run does not keep what an earlier form made."""
PASSES_OF_A_FIT = 12
"""About how many gradients a fit takes, for progress bars."""


@dataclass(frozen=True, slots=True)
class Merge:
    """How the model of an arm comes about.

    Attributes:
        key: hash of everything that decides its weights.
        branches: hashes of the branches.
        average: weights of the branches' mean, whatever the operator makes of the branches.
        models: folders of what is merged: the branches, or for a scaled arm the model that is scaled.
        tasks: per model, the tasks it was trained on.
        operator: the merge operator; linear over one model takes it as it is.
        weights: one per model, for operators that take them.
        drift_key: hash of everything that decides the drift, for the operator that corrects it.
    """

    key: str
    branches: tuple[str, ...]
    average: tuple[float, ...]
    models: tuple[Path, ...]
    tasks: tuple[tuple[str, ...], ...]
    operator: Operator
    weights: tuple[float, ...] | None
    drift_key: str | None = None


class ArmMerges:
    """Makes the models of the arms of one run."""

    def __init__(
        self,
        recipe: Recipe,
        run: RunDirectory,
        mixture: Mixture,
        launcher: Launcher,
        start: PlacedModel,
        start_settings: StartSettings,
    ) -> None:
        self._recipe, self._run, self._tasks, self._launcher = recipe, run, mixture.tasks, launcher
        self._start, self._start_settings = start, start_settings

    def assemble(self, arms: Sequence[Arm], specs: Mapping[str, Sequence[BranchSpec]]) -> None:
        """Write ``arms/NAME`` for every trained arm, and for what a scaled arm scales."""
        trained = [arm for arm in arms if not arm.untrained]
        merged = {arm.merged_name: (arm, specs[arm.name]) for arm in trained}
        fits = self._fit_weights(merged)
        merges = {name: self._merge(name, arm, own, fits.get(name)) for name, (arm, own) in merged.items()}
        self._measure_drifts(merges)
        self._write(merges)
        scaled = {arm.name: arm for arm in trained if arm.scale is not None}
        scales = self._fit_scales(scaled)
        self._write(
            {name: self._scaled(merges[arm.merged_name], arm, scales.get(name)) for name, arm in scaled.items()}
        )

    def _done(self, spec: BranchSpec) -> Mapping[str, Any]:
        return read_json(BranchDirectory(self._run.branch(spec.hash)).done)

    def _merge(self, name: str, arm: Arm, specs: Sequence[BranchSpec], fitted: list[float] | None) -> Merge:
        """The merge of an arm before any scale."""
        done = [self._done(spec) for spec in specs]
        average = self._average(arm, done)
        operator = arm.operator if fitted is None else TaskArithmetic(factors=tuple(fitted))
        weights = average if operator.takes_weights else None
        inputs: list[Any] = [entry["sha256"] for entry in done]
        if operator.needs_start:
            inputs.append(self._start.sha256)
        if operator.needs_second_moments:
            inputs.append([entry["second_moments"]["sha256"] for entry in done])
        drift_key = None
        if isinstance(operator, DriftCorrected):
            moments = [entry.get("second_moments") for entry in done]
            settings = self._start_settings.model_dump(exclude={"model"})
            drift_key = content_hash([inputs, average, moments, settings, DRIFT_REVISION])
            inputs.append(drift_key)
            operator = operator.model_copy(update={"drift": self._run.drift(name)})
        return Merge(
            key=content_hash([inputs, weights, operator.name, operator.revision, operator.model_dump(mode="json")]),
            branches=tuple(spec.hash for spec in specs),
            average=average,
            models=tuple(BranchDirectory(self._run.branch(spec.hash)).model for spec in specs),
            tasks=tuple(tuple(spec.tasks) for spec in specs),
            operator=operator,
            weights=weights,
            drift_key=drift_key,
        )

    @staticmethod
    def _average(arm: Arm, done: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
        if arm.weighs_equally:
            return uniform_weights(len(done))
        return token_weights([entry["tokens"] for entry in done])

    def _scaled(self, merge: Merge, arm: Arm, fitted: list[float] | None) -> Merge:
        scale = fitted[0] if fitted is not None else arm.scale
        assert isinstance(scale, float)
        model = self._run.arm(arm.merged_name)
        operator = TaskArithmetic(scale=scale)
        return Merge(
            key=content_hash([read_json(model / "arm.json")["sha256"], self._start.sha256, scale, operator.revision]),
            branches=merge.branches,
            average=merge.average,
            models=(model / "model",),
            tasks=(tuple(task.name for task in self._tasks),),
            operator=operator,
            weights=None,
        )

    def _write(self, merges: Mapping[str, Merge]) -> None:
        self._launcher.run(
            "merge",
            [
                Job(
                    name,
                    "training.arms.assembly:assemble_arm",
                    {"root": self._run.root, "name": name, "merge": merge, "base_model": self._recipe.start.hub_id},
                )
                for name, merge in merges.items()
            ],
        )

    def _fit_weights(self, merged: Mapping[str, tuple[Arm, Sequence[BranchSpec]]]) -> dict[str, list[float]]:
        jobs = {}
        for name, (arm, specs) in merged.items():
            if arm.weights == "fitted":
                done = [self._done(spec) for spec in specs]
                folders = [BranchDirectory(self._run.branch(spec.hash)).model for spec in specs]
                jobs[name] = self._fit(name, folders, [entry["sha256"] for entry in done], self._average(arm, done))
        return dict(zip(jobs, self._launcher.run("fit", list(jobs.values())), strict=True))

    def _fit_scales(self, scaled: Mapping[str, Arm]) -> dict[str, list[float]]:
        jobs = {}
        for name, arm in scaled.items():
            if arm.scale == "fitted":
                model = self._run.arm(arm.merged_name)
                sha256 = read_json(model / "arm.json")["sha256"]
                jobs[name] = self._fit(name, [model / "model"], [sha256], (1.0,))
        return dict(zip(jobs, self._launcher.run("fit", list(jobs.values())), strict=True))

    def _fit(self, name: str, folders: Sequence[Path], hashes: Sequence[str], initial: Sequence[float]) -> Job:
        rows = sum(task.counts["validation"] for task in self._tasks)
        data = [task.hashes["validation"] for task in self._tasks]
        start = self._start_settings
        arguments = {
            "root": self._run.root,
            "name": name,
            "folders": folders,
            "initial": initial,
            "key": content_hash(
                [self._start.sha256, hashes, initial, data, start.model_dump(exclude={"model"}), FIT_REVISION]
            ),
            "start": start,
            "batch_tokens": self._recipe.branch.micro_batch_tokens,
        }
        tokens = PASSES_OF_A_FIT * TOKENS_PER_ROW * rows
        return Job(name, "training.arms.coefficients:fit_coefficients", arguments, tokens)

    def _measure_drifts(self, merges: Mapping[str, Merge]) -> None:
        """Drifts that lack; each sees the arm's training rows twice."""
        jobs = []
        for name, merge in merges.items():
            if isinstance(merge.operator, DriftCorrected):
                arguments = {
                    "root": self._run.root,
                    "name": name,
                    "branches": merge.branches,
                    "weights": merge.average,
                    "key": merge.drift_key,
                    "start": self._start_settings,
                }
                rows = sum(task.counts["train"] for task in self._tasks)
                jobs.append(Job(name, "training.arms.drift:measure_drift", arguments, 2 * TOKENS_PER_ROW * rows))
        self._launcher.run("drift", jobs)
