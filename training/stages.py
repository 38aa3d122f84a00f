"""The stages of a run that launch jobs; each skips what already stands under the hashes of its inputs."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from training.arms.arm import Arm
from training.arms.merges import ArmMerges
from training.arms.specifier import Specifier, keeping_second_moments
from training.branches.finished import finished_branch
from training.branches.spec import TOKENS_PER_ROW, BranchSpec, load_spec
from training.config import Recipe, StartSettings
from training.conflicts.measure import MeasuredConflicts, pass_key, sketch_seed, summarise_conflicts
from training.conflicts.partition_rules import PartitionRule
from training.conflicts.partitions import make_partitions
from training.errors import InputError
from training.evaluation.retention_reference import frozen_reference, general_prompts
from training.keyed_file import stored_key
from training.launch.job import Job, Launcher
from training.mixture import Mixture
from training.model.start import PlacedModel
from training.run_directory import BranchDirectory, RunDirectory, content_hash, read_json, write_json

Specs = Mapping[str, Sequence[BranchSpec]]


class Stages:
    """The stages over one run directory; ``base`` and ``start`` are known once :meth:`prepare_start` has run."""

    base: PlacedModel
    start: PlacedModel
    primer: BranchSpec | None = None

    def __init__(self, recipe: Recipe, run: RunDirectory, mixture: Mixture, launcher: Launcher) -> None:
        self.recipe, self.run, self.mixture, self.launcher = recipe, run, mixture, launcher
        self.tasks = {task.name: task for task in mixture.tasks}

    def prepare_start(self) -> None:
        """Place the base model, train the primer on its slice if there is one, and place the start."""
        settings = self.recipe.start
        self.base = self._place(settings.model, self.run.base)
        arguments = {"root": self.run.root, "start": settings, "evaluation": self.recipe.evaluation}
        self.launcher.run("start", [Job("test rows", "training.evaluation.evaluate:check_test_rows", arguments)])
        if not self.recipe.mixture.primer:
            self.start = self._place(str(self.run.base), self.run.start)
            return
        self.primer = self._specifier(self.base).primer()
        self._train("primer", {"primer": self.primer})
        self.start = self._place(str(BranchDirectory(self.run.branch(self.primer.hash)).model), self.run.start)

    @property
    def _start_settings(self) -> StartSettings:
        """The recipe's start in the arithmetic that ``auto`` stands for on this run's device."""
        return self.recipe.start.model_copy(update={"precision": self.start.precision})

    def _place(self, model: str, folder: Path) -> PlacedModel:
        settings = self.recipe.start.model_copy(update={"model": model})
        (placed,) = self.launcher.run(
            "start",
            [Job(folder.name, "training.model.start:place_start_model", {"settings": settings, "folder": folder})],
        )
        return placed

    def _specifier(self, start: PlacedModel) -> Specifier:
        return Specifier(self.recipe, self.tasks, start, sketch_seed(self.recipe.seed))

    def measure_conflicts(self) -> MeasuredConflicts | None:
        """One gradient pass per task that lacks one; None for a mixture of one task, which has no conflicts."""
        if len(self.tasks) < 2:
            return None
        recipe, start = self.recipe, self._start_settings
        jobs = []
        for name, task in self.tasks.items():
            key = pass_key(task, self.start.sha256, start, recipe.conflicts, recipe.seed)
            if stored_key(self.run.sketches(name)) != key:
                arguments = {
                    "root": self.run.root,
                    "name": name,
                    "key": key,
                    "start": start,
                    "settings": recipe.conflicts,
                    "seed": recipe.seed,
                }
                tokens = TOKENS_PER_ROW * task.counts["calibration"]
                jobs.append(Job(name, "training.conflicts.task_pass:measure_task", arguments, tokens))
        self.launcher.run("conflicts", jobs)
        return summarise_conflicts(self.run, self.mixture.tasks, recipe.conflicts, recipe.seed)

    def specify(self, arms: Sequence[Arm], conflicts: MeasuredConflicts | None) -> dict[str, list[BranchSpec]]:
        """Divide the tasks for every arm that needs it, and specify the arms' branches; untrained arms have none."""
        specifier = self._specifier(self.start)
        groups = self._groups(dict.fromkeys(arm.rule for arm in arms if arm.rule), conflicts)
        specs = {arm.name: specifier.branches(arm, groups[arm.rule] if arm.rule else []) for arm in arms}
        return keeping_second_moments(arms, specs)

    def _groups(
        self, rules: Collection[PartitionRule], conflicts: MeasuredConflicts | None
    ) -> dict[PartitionRule, list[list[str]]]:
        if not rules:
            return {}
        assert conflicts is not None, "a rule was checked against a single task"
        recipe = self.recipe
        return make_partitions(self.run, rules, conflicts, recipe.partition, recipe.splits, recipe.seed)

    def train(self, specs: Specs) -> None:
        """Train every branch that is not there yet, each once, however many arms share it."""
        named: dict[str, BranchSpec] = {}
        for arm, branches in specs.items():
            for number, spec in enumerate(branches, start=1):
                if spec not in named.values():
                    named[arm if len(branches) == 1 else f"{arm} {number}/{len(branches)}"] = spec
        self._train("branches", named)

    def _train(self, title: str, specs: Mapping[str, BranchSpec]) -> None:
        jobs = []
        for name, spec in specs.items():
            paths = BranchDirectory(self.run.branch(spec.hash))
            _place_spec(spec, paths.spec)
            if finished_branch(paths, spec.hash, spec.second_moments) is not None:
                paths.checkpoint.unlink(missing_ok=True)  # left by a worker that was killed between the two
                continue
            arguments = {"spec_path": paths.spec, "out": paths.root}
            jobs.append(Job(name, "training.branches.train:train_branch", arguments, TOKENS_PER_ROW * spec.examples))
        self.launcher.run(title, jobs)

    def assemble(self, arms: Sequence[Arm], specs: Specs) -> None:
        """Make the model of every trained arm from its branches."""
        merges = ArmMerges(self.recipe, self.run, self.mixture, self.launcher, self.start, self._start_settings)
        merges.assemble(arms, specs)

    def evaluate(self, arms: Sequence[Arm], specs: Specs) -> None:
        """Evaluate every arm, and single branches by loss alone, where the same was not evaluated before."""
        recipe, start = self.recipe, self._start_settings
        tasks = (*self.mixture.tasks, *self.mixture.outside)
        items = [task.hashes["test"] for task in tasks]
        rows = sum(task.counts["test"] for task in tasks)
        jobs = []
        for name, folder, sha256, generate in self._models(arms, specs):
            settings = [start.objective, start.precision, start.max_length, generate]
            key = content_hash([sha256, items, settings])
            if stored_key(self.run.evaluation(name)) != key:
                arguments = {
                    "root": self.run.root,
                    "name": name,
                    "folder": folder,
                    "key": key,
                    "start": start,
                    "batch_tokens": recipe.evaluation.batch_tokens,
                    "generate": generate,
                }
                jobs.append(Job(name, "training.evaluation.evaluate:evaluate_model", arguments, TOKENS_PER_ROW * rows))
        self.launcher.run("evaluation", jobs)
        if recipe.evaluation.retention:
            self._measure_retention(arms)

    def _measure_retention(self, arms: Sequence[Arm]) -> None:
        """Have the base model answer general prompts, once, and compare every arm with it there."""
        settings, start = self.recipe.evaluation, self._start_settings
        tokens, prompts = settings.retention_tokens, general_prompts(settings.retention)
        key = content_hash([self.base.sha256, prompts, tokens, start.precision])
        sha256 = frozen_reference(self.run, key)
        if sha256 is None:
            arguments = {
                "root": self.run.root,
                "folder": self.run.base,
                "key": key,
                "start": start,
                "prompts": len(prompts),
                "tokens": tokens,
            }
            job = Job(
                "base's answers", "training.evaluation.retention:answer_prompts", arguments, tokens * len(prompts)
            )
            (sha256,) = self.launcher.run("retention", [job])
        jobs = []
        for arm in arms:
            folder, weights = self._arm_model(arm)
            key = content_hash([weights, self.base.sha256, sha256, start.objective, start.precision, tokens])
            if stored_key(self.run.retention(arm.name)) != key:
                arguments = {
                    "root": self.run.root,
                    "name": arm.name,
                    "folder": folder,
                    "reference": self.run.base,
                    "key": key,
                    "start": start,
                    "tokens": tokens,
                }
                jobs.append(
                    Job(arm.name, "training.evaluation.retention:measure_retention", arguments, tokens * len(prompts))
                )
        self.launcher.run("retention", jobs)

    def _arm_model(self, arm: Arm) -> tuple[Path, str]:
        """Folder and weights' hash of an arm's model."""
        if arm.untrained:
            return {"base": (self.run.base, self.base.sha256), "start": (self.run.start, self.start.sha256)}[
                arm.untrained
            ]
        folder = self.run.arm(arm.name)
        return folder / "model", read_json(folder / "arm.json")["sha256"]

    def _models(self, arms: Sequence[Arm], specs: Specs) -> list[tuple[str, Path, str, int]]:
        """Name, folder, weights' hash and items to generate of every model that is evaluated."""
        settings = self.recipe.evaluation
        models = [(arm.name, *self._arm_model(arm), settings.generate) for arm in arms]
        merged = [spec for branches in specs.values() if len(branches) > 1 for spec in branches]
        if settings.branches:
            for spec in {spec.hash: spec for spec in merged}.values():
                paths = BranchDirectory(self.run.branch(spec.hash))
                models.append((spec.evaluation_name, paths.model, read_json(paths.done)["sha256"], 0))
        return models


def _place_spec(spec: BranchSpec, path: Path) -> None:
    """Write the spec unless it stands there; one that was damaged is written again."""
    try:
        standing = load_spec(path)
    except InputError:
        standing = None
    if standing != spec:
        write_json(path, spec.model_dump())
