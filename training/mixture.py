"""The mixture: tasks frozen to hashed JSONL, split so that no question is in two splits.

The split is a pure function of seed and question: rows are ordered by SHA-256 of (seed, question), and the first go
to the test split, the next to calibration, primer, validation and training. Equal questions of different tasks thereby
meet in the same split; the few that would not are dropped from the later task, and the manifest says how many.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config import DatasetsTask, FileTask, MixtureSettings, ReasoningGymTask, TaskSource
from training.errors import InputError
from training.intact import read_sealed, write_sealed
from training.run_directory import content_hash, file_hash, write_text
from training.sources import files, hub_datasets, reasoning_gym_tasks
from training.sources.row import Row

GENERATED_WHEN_ALL = 256
OUTSIDE = "outside"
RESERVED = (OUTSIDE, "manifest.json")


@dataclass(frozen=True, slots=True)
class Task:
    """A frozen task: its files, their hashes, and how its answers are scored."""

    name: str
    folder: Path
    source: dict[str, Any]
    scoring: str
    hashes: dict[str, str]
    counts: dict[str, int]

    def rows(self, split: str) -> list[Row]:
        """The rows of a split; an absent split is empty.

        Raises:
            InputError: the file is missing or is not the one that was frozen.
        """
        if split not in self.hashes:
            return []
        path = self.folder / f"{split}.jsonl"
        if not path.is_file() or file_hash(path) != self.hashes[split]:
            above = self.folder.parent
            mixture = above.parent if above.name == OUTSIDE else above
            raise InputError(
                f"{path} is not the file that was frozen; remove {mixture} and run again to freeze the tasks anew"
            )
        records = [json.loads(line) for line in path.read_bytes().splitlines()]
        return [Row(tuple(record["messages"]), record.get("entry", {})) for record in records]

    def matcher(self) -> Callable[[str, Row], bool]:
        """Whether a generated answer is right: the task's own scorer, or equality up to white space."""
        if self.scoring == "reasoning_gym":
            return reasoning_gym_tasks.scorer(ReasoningGymTask.model_validate(self.source))
        return lambda answer, row: answer.split() == row.answer.split()


@dataclass(frozen=True, slots=True)
class Mixture:
    """The tasks of a run, in the recipe's order, and the unseen tasks beside them."""

    tasks: tuple[Task, ...]
    outside: tuple[Task, ...]

    @classmethod
    def load(cls, folder: Path) -> "Mixture":
        """Read the manifest that :func:`freeze` wrote."""
        manifest = _read_manifest(folder)
        inside = tuple(_task(entry, folder) for entry in manifest["tasks"])
        outside = tuple(_task(entry, folder / "outside") for entry in manifest["outside"])
        return cls(inside, outside)

    def task(self, name: str) -> Task:
        """The task of this name, inside the mixture or outside it.

        Raises:
            InputError: there is none.
        """
        for task in (*self.tasks, *self.outside):
            if task.name == name:
                return task
        raise InputError(f"no task {name!r} in the mixture; it has {', '.join(task.name for task in self.tasks)}")


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = read_sealed(folder / "manifest.json")
    if manifest is None:
        raise InputError(
            f"{folder / 'manifest.json'} is missing or damaged; remove {folder} and run again to freeze the tasks anew"
        )
    return manifest


def _task(entry: dict[str, Any], folder: Path) -> Task:
    return Task(
        name=entry["name"],
        folder=folder / entry["name"],
        source=entry["source"],
        scoring=entry["scoring"],
        hashes={split: part["sha256"] for split, part in entry["splits"].items()},
        counts={split: part["rows"] for split, part in entry["splits"].items()},
    )


def freeze(settings: MixtureSettings, seed: int, folder: Path) -> Mixture:
    """Write the mixture to ``folder``; a task already frozen there from the same source and seed is kept as it is.

    A kept task whose files were damaged is frozen again, provided that its source still gives the same rows.

    Raises:
        InputError: an unknown, empty or duplicate task, too few distinct questions, or a question shared between a
            task's own training and test files.
    """
    inside, outside = _expand(settings.tasks), _expand(settings.outside)
    names = [str(task.name) for task in (*inside, *outside)]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated:
        raise InputError(f"task {repeated!r} is in the mixture twice; remove one or give it another name")
    reserved = next((name for name in names if name in RESERVED), None)
    if reserved:
        raise InputError(f"a task cannot be called {reserved!r}, which the mixture's folder uses; give it another name")
    manifest = folder / "manifest.json"
    earlier = _read_manifest(folder) if manifest.exists() else {"tasks": [], "outside": []}
    wanted = [("tasks", folder, source) for source in inside]
    wanted += [("outside", folder / "outside", source) for source in outside]
    plans = [_plan(settings, source, outside=kind == "outside") for kind, _, source in wanted]
    keys = [
        content_hash([seed, plan, _identity(source), _source_hashes(source)])
        for (_, _, source), plan in zip(wanted, plans, strict=True)
    ]
    # Tasks that stay as they are have the first claim on their questions, wherever they stand in the recipe.
    kept = {(kind, entry["name"], entry["key"]): entry for kind in ("tasks", "outside") for entry in earlier[kind]}
    entries = [kept.get((kind, str(source.name), key)) for (kind, _, source), key in zip(wanted, keys, strict=True)]
    taken: dict[str, str] = {}
    whole: set[str] = set()
    for (_, place, _), entry in zip(wanted, entries, strict=True):
        if entry is not None:
            with contextlib.suppress(InputError):  # a damaged task is frozen again
                taken = _splits_of_questions(entry, place) | taken
                whole.add(entry["name"])
    record: dict[str, Any] = {"seed": seed, "tasks": [], "outside": []}
    with _placing_at_the_end(folder) as staging:
        for (kind, place, source), plan, key, entry in zip(wanted, plans, keys, entries, strict=True):
            name = str(source.name)
            if entry is None or name not in whole:
                frozen = _freeze_task(source, plan, seed, staging.folder / name, taken) | {"key": key}
                if entry is not None and _without_kind(frozen) != _without_kind(entry):
                    raise InputError(
                        f"task {name!r} in {folder} is damaged and its source no longer gives the same rows; remove "
                        f"{folder} and run again to freeze the tasks anew"
                    )
                taken = _splits_of_questions(frozen, staging.folder) | taken
                staging.targets[name] = place / name
                entry = frozen
            record[kind].append(entry | _kind_from_recipe(source))
    write_sealed(manifest, record)
    return Mixture.load(folder)


@dataclass(frozen=True, slots=True)
class _Staging:
    """Where tasks are written before they take their places, by name."""

    folder: Path
    targets: dict[str, Path]


@contextlib.contextmanager
def _placing_at_the_end(mixture: Path) -> Iterator[_Staging]:
    """Move the tasks that the block writes to their places when it ends well: a refused mixture leaves the old one."""
    staging = _Staging(mixture / f".freezing.{os.getpid()}.tmp", {})
    try:
        yield staging
        for name, target in staging.targets.items():
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging.folder / name, target)
    finally:
        shutil.rmtree(staging.folder, ignore_errors=True)


def _splits_of_questions(entry: dict[str, Any], place: Path) -> dict[str, str]:
    """The split of each of a task's questions; other tasks keep to it."""
    task = _task(entry, place)
    return {row.question: split for split in task.hashes for row in task.rows(split)}


def _expand(sources: Iterable[TaskSource]) -> list[TaskSource]:
    expanded: list[TaskSource] = []
    for source in sources:
        expanded += files.expand_files(source) if isinstance(source, FileTask) else [source]
    return expanded


def _identity(source: TaskSource) -> dict[str, Any]:
    """Everything of a source that decides which rows it gives: its kind is for pictures alone."""
    return source.model_dump(exclude={"kind"})


def _kind_from_recipe(source: TaskSource) -> dict[str, str | None]:
    """The kind as the recipe has it now, even of a task that is kept; that of a generated task is not the recipe's."""
    return {} if isinstance(source, ReasoningGymTask) else {"kind": source.kind}


def _without_kind(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "kind"}


def _source_hashes(source: TaskSource) -> list[str]:
    if not isinstance(source, FileTask):
        return []
    return [file_hash(Path(path)) for path in (source.path, source.test_path) if path]


def _plan(settings: MixtureSettings, source: TaskSource, *, outside: bool) -> dict[str, int | None]:
    """Rows wanted per split, in the order in which they are filled; None takes all that is left."""
    if outside:
        return {"test": settings.test}
    train = None if settings.train == "all" else settings.train
    if train is None and isinstance(source, ReasoningGymTask):
        train = GENERATED_WHEN_ALL
    # Without validation rows there is no such entry: tasks frozen before there were any keep their keys.
    validation = {"validation": settings.validation} if settings.validation else {}
    return {
        "test": settings.test,
        "calibration": settings.calibration,
        "primer": settings.primer,
        **validation,
        "train": train,
    }


def _freeze_task(
    source: TaskSource, plan: dict[str, int | None], seed: int, folder: Path, taken: dict[str, str]
) -> dict[str, Any]:
    name = str(source.name)
    rows, duplicates = _distinct(_rows(source, plan, seed))
    if not rows:
        raise InputError(f"task {name!r} is empty; give it rows or remove it")
    own_test: list[Row] = []
    if isinstance(source, FileTask) and source.test_path:
        own_test, _ = _distinct(files.read_rows(Path(source.test_path)))
        _refuse_shared(name, rows, own_test)
    splits, conflicting = _split(name, rows, own_test, plan, seed, taken)
    return {
        "name": name,
        "kind": reasoning_gym_tasks.kind_of(source) if isinstance(source, ReasoningGymTask) else source.kind,
        "source": _identity(source),
        "scoring": _working_scoring(source, splits["test"]),
        "duplicates_dropped": duplicates,
        "in_another_split_dropped": conflicting,
        "splits": {split: _write_split(folder / f"{split}.jsonl", part) for split, part in splits.items() if part},
    }


def _rows(source: TaskSource, plan: dict[str, int | None], seed: int) -> Iterator[Row]:
    if isinstance(source, FileTask):
        return files.read_rows(Path(source.path))
    if isinstance(source, DatasetsTask):
        return hub_datasets.load_rows(source)
    wanted = sum(count for count in plan.values() if count is not None)
    # A spare quarter replaces questions that an earlier task already has in another split.
    return reasoning_gym_tasks.generate_rows(source, wanted + wanted // 4 + 1, seed)


def _distinct(rows: Iterable[Row]) -> tuple[list[Row], int]:
    """Rows with the first of each question, and how many were dropped."""
    first: dict[str, Row] = {}
    count = 0
    for row in rows:
        count += 1
        first.setdefault(row.question, row)
    return list(first.values()), count - len(first)


def _refuse_shared(name: str, rows: list[Row], own_test: list[Row]) -> None:
    test_questions = {row.question for row in own_test}
    shared = [row for row in rows if row.question in test_questions]
    if shared:
        text = shared[0].messages[-2]["content"][:80]
        raise InputError(
            f"task {name!r}: {len(shared)} questions are in both path and test_path, first {text!r}; remove them"
        )


def _split(
    name: str, rows: list[Row], own_test: list[Row], plan: dict[str, int | None], seed: int, taken: dict[str, str]
) -> tuple[dict[str, list[Row]], int]:
    """Fill the splits in the plan's order; a question that another task has already keeps its split or is dropped."""
    splits: dict[str, list[Row]] = {split: [] for split in plan}
    conflicting = 0

    def has_room(split: str) -> bool:
        wanted = plan[split]
        return wanted is None or len(splits[split]) < wanted

    candidates = [(row, ["test"]) for row in own_test]
    elsewhere = [split for split in plan if split != "test"] if own_test else list(plan)
    candidates += [(row, elsewhere) for row in sorted(rows, key=lambda row: _order(seed, row.question))]
    for row, allowed in candidates:
        owner = taken.get(row.question)
        open_splits = [split for split in allowed if has_room(split) and owner in (None, split)]
        if open_splits:
            splits[open_splits[0]].append(row)
        elif owner is not None:
            conflicting += 1
    for split, wanted in plan.items():
        if len(splits[split]) < (1 if wanted is None else wanted):
            needed = sum(1 if count is None else count for count in plan.values())
            raise InputError(
                f"task {name!r} has {len(rows) + len(own_test) - conflicting} usable distinct questions and its splits "
                f"need {needed}; add rows or lower mixture.{split}"
            )
    return splits, conflicting


def _order(seed: int, question: str) -> bytes:
    return hashlib.sha256(f"{seed}\x00{question}".encode()).digest()


def _working_scoring(source: TaskSource, test_rows: list[Row]) -> str:
    """The generator's scorer if it accepts every frozen reference answer, else plain equality."""
    if not isinstance(source, ReasoningGymTask):
        return "exact"
    matches = reasoning_gym_tasks.scorer(source)
    return "reasoning_gym" if all(matches(row.answer, row) for row in test_rows) else "exact"


def _write_split(path: Path, rows: list[Row]) -> dict[str, Any]:
    records = [{"messages": row.messages} | ({"entry": row.entry} if row.entry else {}) for row in rows]
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return {"rows": len(rows), "sha256": file_hash(path)}
