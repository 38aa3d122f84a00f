"""The stages of a run that launch jobs; each skips what already stands under the hashes of its inputs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from training.arms import Arm, Specifier
from training.branch_spec import TOKENS_PER_ROW, BranchSpec, load_spec
from training.config import Recipe, StartSettings
from training.conflicts import MeasuredConflicts, pass_key, sketch_seed, summarise_conflicts
from training.errors import InputError
from training.finished_branch import finished_branch
from training.keyed_file import stored_key
from training.launch.job import Job, Launcher
from training.mixture import Mixture
from training.partitions import make_partition
from training.run_directory import BranchDirectory, RunDirectory, content_hash, read_json, write_json
from training.start import PlacedModel

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
        arguments = {"root": self.run.root, "start": settings}
        self.launcher.run("start", [Job("test rows", "training.evaluation:check_test_rows", arguments)])
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
            "start", [Job(folder.name, "training.start:place_start_model", {"settings": settings, "folder": folder})]
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
                jobs.append(Job(name, "training.task_pass:measure_task", arguments, tokens))
        self.launcher.run("conflicts", jobs)
        return summarise_conflicts(self.run, self.mixture.tasks, recipe.conflicts, recipe.seed)

    def specify(self, arms: Sequence[Arm], conflicts: MeasuredConflicts | None) -> dict[str, list[BranchSpec]]:
        """Divide the tasks for every arm that needs it, and specify the arms' branches; untrained arms have none."""
        specifier = self._specifier(self.start)
        specs: dict[str, list[BranchSpec]] = {}
        for arm in arms:
            if arm.untrained:
                specs[arm.name] = []
                continue
            groups = [list(self.tasks)] if arm.partition is None else self._groups(arm, conflicts)
            specs[arm.name] = [specifier.branch(group, epochs=arm.epochs, batch=arm.batch) for group in groups]
        return specs

    def _groups(self, arm: Arm, conflicts: MeasuredConflicts | None) -> list[list[str]]:
        rule = arm.partition
        assert rule is not None
        assert conflicts is not None, "a rule was checked against a single task"
        given = self.recipe.splits.get(rule.name, [])
        return make_partition(self.run, rule, conflicts, self.recipe.partition, given, self.recipe.seed)

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
            if finished_branch(paths, spec.hash) is not None:
                paths.checkpoint.unlink(missing_ok=True)  # left by a worker that was killed between the two
                continue
            arguments = {"spec_path": paths.spec, "out": paths.root}
            jobs.append(Job(name, "training.branch:train_branch", arguments, TOKENS_PER_ROW * spec.examples))
        self.launcher.run(title, jobs)

    def assemble(self, arms: Sequence[Arm], specs: Specs) -> None:
        """Make the model of every trained arm from its branches."""
        jobs = []
        for arm in arms:
            if arm.untrained:
                continue
            arguments = {
                "root": self.run.root,
                "name": arm.name,
                "branches": [spec.hash for spec in specs[arm.name]],
                "uniform": arm.uniform,
                "base_model": self.recipe.start.hub_id,
            }
            jobs.append(Job(arm.name, "training.assembly:assemble_arm", arguments))
        self.launcher.run("merge", jobs)

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
                jobs.append(Job(name, "training.evaluation:evaluate_model", arguments, TOKENS_PER_ROW * rows))
        self.launcher.run("evaluation", jobs)

    def _models(self, arms: Sequence[Arm], specs: Specs) -> list[tuple[str, Path, str, int]]:
        """Name, folder, weights' hash and items to generate of every model that is evaluated."""
        settings = self.recipe.evaluation
        untrained = {"base": (self.run.base, self.base.sha256), "start": (self.run.start, self.start.sha256)}
        models = []
        for arm in arms:
            if arm.untrained:
                folder, sha256 = untrained[arm.untrained]
            else:
                folder, sha256 = (
                    self.run.arm(arm.name) / "model",
                    read_json(self.run.arm(arm.name) / "arm.json")["sha256"],
                )
            models.append((arm.name, folder, sha256, settings.generate))
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
