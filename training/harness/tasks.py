"""What the names given to ``--tasks`` stand for: lm-eval's tasks with their data, and how its groups average them."""

import difflib
import inspect
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import InputError
from training.full_disk import is_disk_full
from training.run_directory import content_hash


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One metric of a group: a mean over its tasks.

    Attributes:
        metric: its name in lm-eval, such as ``acc``.
        filters: names of the answer filters it is taken under; None for all there are.
        by_size: every item weighs the same (a mean over all items), else every task (a mean of means).
    """

    metric: str
    filters: tuple[str, ...] | None
    by_size: bool


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What gets a table: a task, or a group of tasks that lm-eval averages.

    Attributes:
        name: of the task or group.
        tasks: names of the tasks in it; a single task's own name.
        aggregates: what a group averages; empty for a single task.
    """

    name: str
    tasks: tuple[str, ...]
    aggregates: tuple[Aggregate, ...] = ()


@dataclass(frozen=True, slots=True)
class HarnessTask:
    """One task of lm-eval with its data.

    Attributes:
        task: lm-eval's own object.
        items: how many it has, before any limit.
    """

    task: Any
    items: int

    def key(self, limit: int | None) -> str:
        """Hash of all that the model is asked: the task's configuration, its items and those it takes examples from."""
        items = [item for _, item in self.task.doc_iterator(limit=limit)]
        examples = list(self.task.fewshot_docs()) if self.task.get_config("num_fewshot") else []
        return content_hash(json.loads(json.dumps([self.task.dump_config(), items, examples], default=_as_text)))


def _as_text(value: object) -> str:
    """A function as its source, which ends up in a hash, and another object as its type: no address in memory."""
    try:
        return inspect.getsource(value)  # type: ignore[arg-type]
    except (TypeError, OSError):
        return type(value).__qualname__


def load_benchmarks(
    names: Sequence[str], include_path: Path | None
) -> tuple[tuple[Benchmark, ...], dict[str, HarnessTask]]:
    """The benchmarks of these names or patterns, and every task in them by name, with its data loaded.

    Args:
        names: tasks, groups or tags of lm-eval, or patterns such as ``mmlu_*``.
        include_path: folder of further task files (YAML), which may replace those of lm-eval.

    Raises:
        InputError: lm-eval is not installed, has no such task, cannot get its data, or would have to run the code that
            the model writes.
    """
    if include_path is not None and not include_path.is_dir():
        raise InputError(f"--include-path {include_path} is no folder; give the one that holds the task files")
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise InputError("the harness needs lm-eval; pip install 'merit-lab[harness]'") from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    own = TaskManager(include_path=str(include_path or ""), include_defaults=False)
    # Reading the 14,000 task files of lm-eval takes longer than a small benchmark.
    manager = own if {*names} <= {*own.all_subtasks} else TaskManager(include_path=str(include_path or ""))
    benchmarks: dict[str, Benchmark] = {}
    tasks: dict[str, HarnessTask] = {}
    for name in _matching(names, manager):
        for benchmark, loaded in _load(name, manager):
            benchmarks.setdefault(benchmark.name, benchmark)
            for task in loaded:
                tasks.setdefault(task.task_name, HarnessTask(_settled(task), len(task.eval_docs)))
    return tuple(benchmarks.values()), tasks


def _matching(names: Sequence[str], manager: Any) -> list[str]:
    found: dict[str, None] = {}
    for name in names:
        matching = manager.match_tasks([name])
        if not matching:
            near = difflib.get_close_matches(name, manager.all_tasks, 3)
            similar = f" (it has {', '.join(near)})" if near else ""
            raise InputError(
                f"lm-eval has no task {name!r}{similar}; correct --tasks, or add its file by --include-path"
            )
        found |= dict.fromkeys(matching)
    return list(found)


def _load(name: str, manager: Any) -> list[tuple[Benchmark, list[Any]]]:
    try:
        loaded = manager.load([name])
    except Exception as error:  # the hub, datasets and a task's own code raise many types
        if is_disk_full(error):
            raise
        raise InputError(
            f"task {name!r} of lm-eval cannot be loaded ({type(error).__name__}: {error}); with a hub out of reach its "
            "data must be there already, or give a task on local files by --include-path"
        ) from None
    group = loaded["groups"].get(name)
    if group is not None:
        return _of_group(group)
    return [(Benchmark(task.task_name, (task.task_name,)), [task]) for task in loaded["tasks"].values()]


def _of_group(group: Any) -> list[tuple[Benchmark, list[Any]]]:
    """A group that averages is one benchmark; one that only collects stands for what it holds."""
    if group.has_aggregation:
        aggregates = tuple(
            Aggregate(
                entry.metric, None if entry.filter_list is None else tuple(entry.filter_list), entry.weight_by_size
            )
            for entry in group.aggregate_metric_list
        )
        tasks = group.get_all_tasks()
        return [(Benchmark(group.name, tuple(task.task_name for task in tasks), aggregates), tasks)]
    found = []
    for child in group:
        if hasattr(child, "has_aggregation"):
            found += _of_group(child)
        else:
            found.append((Benchmark(child.task_name, (child.task_name,)), [child]))
    return found


def _settled(task: Any) -> Any:
    """The task as lm-eval's own command line would run it: with no examples unless it asks for some.

    Raises:
        InputError: it runs code that the model writes, or shows it pictures or sound.
    """
    if getattr(task, "UNSAFE_CODE", False):
        raise InputError(
            f"task {task.task_name!r} runs code that the model writes, which is not done here; leave it out"
        )
    if getattr(task, "MULTIMODAL", False):
        raise InputError(f"task {task.task_name!r} is not about text alone; leave it out")
    if task.get_config("num_fewshot") is None:
        task.set_config("num_fewshot", 0)
    return task
