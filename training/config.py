"""Recipes: what a run does, as pydantic models read from TOML. An unknown key is an error, never ignored."""

import glob
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from training.errors import InputError
from training.settings_file import Settings, read_settings

RECIPES = Path(__file__).parent / "recipes"
Precision = Literal["bf16-autocast", "float32", "float64"]
"""Arithmetic of a run; ``auto`` in a recipe becomes one of these on the run's device."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


def checked_name(name: str) -> str:
    """Return ``name`` when it can be a file name everywhere.

    Raises:
        ValueError: it is a path, is too long, or holds characters outside letters, digits, dot, dash and underscore.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no usable name: take letters, digits, '.', '-', '_' (1 to 80, no path)")
    return name


class ReasoningGymTask(Settings):
    """A task of the reasoning_gym package, by generator name and parameters."""

    source: Literal["reasoning_gym"]
    dataset: str
    parameters: dict[str, Any] = {}
    name: str = ""

    @model_validator(mode="before")
    @classmethod
    def _name_defaults_to_the_generator(cls, value: Any) -> Any:
        if isinstance(value, dict) and "dataset" in value:
            return {"name": value["dataset"], **value}
        return value

    _check = field_validator("name")(checked_name)


class FileTask(Settings):
    """One JSONL or Parquet file, or a glob or folder of them: a task each, of ``messages`` or prompt and response.

    ``kind`` is a word for pictures to colour the tasks by; nothing is computed from it.
    """

    source: Literal["file"]
    path: str
    test_path: str | None = None
    name: str | None = None
    kind: str | None = None

    @field_validator("name")
    @classmethod
    def _usable(cls, name: str | None) -> str | None:
        return None if name is None else checked_name(name)


class DatasetsTask(Settings):
    """Anything ``datasets.load_dataset(path, configuration, split=split)`` loads (extra ``merit-lab[datasets]``).

    ``kind`` as in :class:`FileTask`.
    """

    source: Literal["datasets"]
    path: str
    configuration: str | None = None
    split: str = "train"
    name: str
    kind: str | None = None

    _check = field_validator("name")(checked_name)


def _source_of(value: Any) -> Any:
    if isinstance(value, dict):
        return value.get("source", "file" if "path" in value else "reasoning_gym")
    return getattr(value, "source", None)


TaskSource = Annotated[
    Annotated[ReasoningGymTask, Tag("reasoning_gym")]
    | Annotated[FileTask, Tag("file")]
    | Annotated[DatasetsTask, Tag("datasets")],
    Discriminator(_source_of),
]


def _spelled_out(value: Any) -> Any:
    """``"reasoning_gym:gcd"`` and ``"data/*.jsonl"`` are short for the tables they name."""
    if not isinstance(value, str):
        return {"source": _source_of(value), **value} if isinstance(value, dict) else value
    if value.startswith("reasoning_gym:"):
        return {"source": "reasoning_gym", "dataset": value.removeprefix("reasoning_gym:")}
    return {"source": "file", "path": value}


class MixtureSettings(Settings):
    """Which tasks, and how many items of each go to which split; no question is in two splits.

    ``validation`` items are what merges are fitted on; nothing is trained on them and nothing is reported on them.
    """

    tasks: list[TaskSource] = Field(min_length=1)
    outside: list[TaskSource] = []
    train: Annotated[int, Field(ge=1)] | Literal["all"] = "all"
    primer: int = Field(default=0, ge=0)
    calibration: int = Field(default=32, ge=2)
    validation: int = Field(default=0, ge=0)
    test: int = Field(default=32, ge=1)

    @field_validator("tasks", "outside", mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        return [_spelled_out(entry) for entry in value] if isinstance(value, list) else value


class StartSettings(Settings):
    """Where every arm begins: the model, what of it is trained, its loss and its arithmetic.

    ``squared-error`` is half the squared distance of the logits from the one-hot target: with a linear head it makes
    the language model a linear regression, on which the theory is exact.
    """

    model: str = "smollm2-135m"
    trainable: list[str] = ["*"]
    objective: Literal["cross-entropy", "squared-error"] = "cross-entropy"
    precision: Literal["auto", "bf16-autocast", "float32", "float64"] = "auto"
    max_length: int | None = Field(default=None, ge=8)

    @property
    def hub_id(self) -> str | None:
        """The model's name on the hub, unless it is a local folder or an embedded one."""
        return self.model if "/" in self.model and not Path(self.model).exists() else None


class BranchSettings(Settings):
    """How a branch is trained; ``batch_size`` counts examples per optimiser step, whatever fits in a micro-batch.

    ``packing`` puts what rows share from the start through the model once, where the architecture allows it; off, rows
    are padded. ``compile`` lets torch.compile fuse every layer, which pays where training lasts longer than the minute
    it takes. Either way the trajectory is the same but for rounding. ``second_moments`` is the form in which branches
    keep Adam's for the arms that read them: whole, or the row and column sums of every matrix.
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-4, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    final_fraction: float = Field(default=0.1, ge=0, le=1)
    epochs: float = Field(default=1.0, gt=0)
    batch_size: int = Field(default=16, ge=1)
    micro_batch_tokens: int = Field(default=2048, ge=1)
    weight_decay: float = Field(default=0.0, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    clip_norm: float | None = Field(default=1.0, gt=0)
    packing: bool = True
    compile: bool = False
    gradient_checkpointing: bool = False
    displacement_every: int = Field(default=10, ge=1)
    checkpoint_seconds: float = Field(default=120.0, ge=0)
    second_moments: Literal["full", "rank-1"] = "full"

    @field_validator("clip_norm", mode="before")
    @classmethod
    def _none_is_spelled_off(cls, value: Any) -> Any:
        return None if value == "off" else value


class PrimerSettings(Settings):
    """Overrides of :class:`BranchSettings` for the primer; the slice is ``mixture.primer`` items of every task."""

    epochs: float | None = Field(default=None, gt=0)
    learning_rate: float | None = Field(default=None, gt=0)
    batch_size: int | None = Field(default=None, ge=1)


class ConflictSettings(Settings):
    """How gradients are compressed: a signed sketch, or the paper's every ``stride``-th entry."""

    mode: Literal["sketch", "paper"] = "sketch"
    sketch_size: int = Field(default=65_536, ge=16)
    group_sketch_size: int = Field(default=4_096, ge=16)
    stride: int = Field(default=5, ge=1)
    micro_batch_examples: int = Field(default=4, ge=1)


class PartitionSettings(Settings):
    """The convention of splits along axes; the matrix and swaps follow from the arm's name.

    ``cut`` balances random groups too. ``resamples`` counts draws of the bootstrap for every rule that looks at
    gradients.
    """

    centre: Literal["none", "rows", "double"] = "double"
    cut: Literal["sign", "count", "samples", "tokens"] = "samples"
    resamples: int = Field(default=200, ge=2)


class EvaluationSettings(Settings):
    """What is measured on every model; ``generate`` counts test items per task that are also answered by generation.

    ``retention`` counts general prompts on which every arm is compared with the base model's own answers, none by
    default; an answer to them is cut after ``retention_tokens``.
    """

    generate: int = Field(default=16, ge=0)
    branches: bool = True
    batch_tokens: int = Field(default=2048, ge=1)
    bootstrap: int = Field(default=2000, ge=100)
    retention: int = Field(default=0, ge=0, le=32)
    retention_tokens: int = Field(default=128, ge=1)


class ResourceSettings(Settings):
    """Worker processes and device; by default one worker per CUDA device, or per core where there is none."""

    workers: int | None = Field(default=None, ge=1)
    threads: int = Field(default=1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Recipe(Settings):
    """One run."""

    seed: int = Field(default=0, ge=0)
    arms: list[str] = ["base", "start", "joint", "joint-equal-steps-2", "merit-1d", "random-2"]
    mixture: MixtureSettings
    start: StartSettings = StartSettings()
    primer: PrimerSettings = PrimerSettings()
    conflicts: ConflictSettings = ConflictSettings()
    partition: PartitionSettings = PartitionSettings()
    splits: dict[str, list[list[str]]] = {}
    operators: dict[str, dict[str, Any]] = {}
    branch: BranchSettings = BranchSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    resources: ResourceSettings = ResourceSettings()

    @model_validator(mode="after")
    def _distinct_arms(self) -> Self:
        for name in (*self.splits, *self.operators):
            checked_name(name)
        repeated = [arm for arm in self.arms if self.arms.count(arm) > 1]
        if repeated:
            raise ValueError(f"arm {repeated[0]!r} is listed twice")
        if not self.arms:
            raise ValueError("arms is empty; list at least one, such as 'joint'")
        return self

    def primer_branch(self) -> BranchSettings:
        """The branch settings of the primer: those of the branches with the primer's overrides."""
        return self.branch.model_copy(update=self.primer.model_dump(exclude_none=True))

    def to_toml(self) -> str:
        """The resolved recipe as TOML; reading it back gives an equal recipe."""
        values = self.model_dump(exclude_none=True)
        if self.branch.clip_norm is None:
            values["branch"]["clip_norm"] = "off"
        return tomli_w.dumps(values)


def load_recipe(recipe: str, overrides: list[str]) -> Recipe:
    """Read a recipe by path, or by the name of one that comes with the package, and apply ``key.path=value`` overrides.

    File paths in the recipe are taken relative to the recipe's own folder.

    Raises:
        InputError: no such recipe, invalid TOML, an unknown key or a wrong type.
    """
    path = RECIPES / f"{recipe}.toml" if (RECIPES / f"{recipe}.toml").exists() else Path(recipe)
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in RECIPES.glob("*.toml")))
        raise InputError(f"no recipe {recipe!r}; give a TOML file or one of: {known}")
    parsed = read_settings(Recipe, path, overrides, "recipe")
    return _with_paths_from(parsed, path.resolve().parent)


def _with_paths_from(recipe: Recipe, folder: Path) -> Recipe:
    """Make relative paths absolute where they name something below the recipe's folder; hub ids and names stay."""

    def resolved(task: TaskSource) -> TaskSource:
        if not isinstance(task, FileTask):
            return task
        test = None if task.test_path is None else str(folder / task.test_path)
        # The recipe's own folder may have a name that reads as a pattern.
        above = Path(glob.escape(str(folder))) if glob.has_magic(task.path) else folder
        return task.model_copy(update={"path": str(above / task.path), "test_path": test})

    model = folder / recipe.start.model
    start = recipe.start.model_copy(update={"model": str(model)}) if model.is_dir() else recipe.start
    tasks, outside = ([resolved(task) for task in group] for group in (recipe.mixture.tasks, recipe.mixture.outside))
    mixture = recipe.mixture.model_copy(update={"tasks": tasks, "outside": outside})
    return recipe.model_copy(update={"mixture": mixture, "start": start})
