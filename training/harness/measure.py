"""lm-eval's tasks run on one model; what every item scored is kept, for comparisons on the same items."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.errors import InputError
from training.harness.tasks import HarnessTask
from training.intact import model_hashes, read_sealed, write_sealed
from training.model.load import load_model, load_tokenizer
from training.progress import Progress
from training.run_directory import RunDirectory, content_hash


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one task on one model.

    Attributes:
        value: as lm-eval aggregates it.
        higher_is_better: what lm-eval says of it; None where it says nothing.
        items: numbers of the items that have it.
        scores: its value on each of them; None where the aggregate is not their mean (a perplexity, a BLEU).
    """

    value: float
    higher_is_better: bool | None
    items: tuple[int, ...]
    scores: tuple[float, ...] | None


Metrics = Mapping[str, Metric]
"""The metrics of a task by ``"METRIC,FILTER"``, as lm-eval names them; the filter of the answers may be ``none``."""


@dataclass(frozen=True, slots=True)
class HarnessSettings:
    """How the tasks are put to the models, beyond what the tasks themselves say.

    Attributes:
        limit: first items of each task that are taken; None for all.
        chat_template: put the questions as messages of a chat; off, as plain text, which is lm-eval's default.
        batch_size: requests in one pass, which changes nothing but rounding.
        precision: arithmetic of the run.
        device: where the model is.
    """

    limit: int | None
    chat_template: bool
    batch_size: int
    precision: str
    device: torch.device

    @property
    def key(self) -> list[Any]:
        """What a score depends on."""
        return [self.limit, self.chat_template, self.precision, version("lm_eval")]

    @property
    def described(self) -> str:
        """The same in words."""
        taken = "All items" if self.limit is None else f"The first {self.limit} items of each task"
        form = "as messages of a chat" if self.chat_template else "as plain text, without a chat template"
        return f"{taken}, asked {form}; {self.precision}, lm-eval {version('lm_eval')}."


def evaluate_arm(
    run: RunDirectory,
    arm: str,
    folder: Path,
    tasks: Mapping[str, HarnessTask],
    task_keys: Mapping[str, str],
    settings: HarnessSettings,
    progress: Progress,
) -> dict[str, Metrics]:
    """Metrics of the model in ``folder`` on every task, by the task's name; what stands is not run again.

    Each task is written when it is done, so that the same command continues one that was stopped.

    Raises:
        InputError: the folder holds no usable model, or no chat template where one is asked for.
    """
    model_key = model_hashes(folder)
    keys = {name: content_hash([model_key, task_keys[name], settings.key]) for name in tasks}
    standing = {name: load_metrics(run.harness(arm, name), keys[name]) for name in tasks}
    metrics = {name: found for name, found in standing.items() if found is not None}
    missing = [name for name in tasks if name not in metrics]
    model = _lm_eval_model(folder, settings, bars=progress.console.is_terminal) if missing else None
    for number, name in enumerate(missing, start=1):
        items = min(tasks[name].items, settings.limit or tasks[name].items)
        progress.line(f"{arm}: {name}, {items} items (task {number} of {len(missing)})")
        metrics[name] = _evaluate(model, name, tasks[name].task, settings)
        save_metrics(run.harness(arm, name), keys[name], metrics[name])
    return metrics


def save_metrics(path: Path, key: str, metrics: Metrics) -> None:
    """Write the metrics of a task on a model, with the key of what they were measured on, atomically."""
    write_sealed(path, {"key": key, "metrics": {name: asdict(metric) for name, metric in metrics.items()}})


def load_metrics(path: Path, key: str) -> Metrics | None:
    """What :func:`save_metrics` wrote under this key; None where there is nothing, or what is there is damaged."""
    record = read_sealed(path)
    if record is None or record["key"] != key:
        return None
    return {
        name: Metric(
            value=entry["value"],
            higher_is_better=entry["higher_is_better"],
            items=tuple(entry["items"]),
            scores=None if entry["scores"] is None else tuple(entry["scores"]),
        )
        for name, entry in record["metrics"].items()
    }


def _lm_eval_model(folder: Path, settings: HarnessSettings, bars: bool) -> Any:
    from lm_eval.models.huggingface import HFLM

    tokenizer = load_tokenizer(folder)
    if settings.chat_template and tokenizer.chat_template is None:
        raise InputError(f"the tokenizer in {folder} has no chat template; leave out --chat-template")
    model = HFLM(
        pretrained=load_model(folder, settings.precision, settings.device),
        tokenizer=tokenizer,
        batch_size=settings.batch_size,
        mixed_precision_dtype="bfloat16" if settings.precision == "bf16-autocast" else None,
    )
    for request in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
        setattr(model, request, partial(getattr(model, request), disable_tqdm=not bars))
    return model


def _evaluate(model: Any, name: str, task: Any, settings: HarnessSettings) -> Metrics:
    from lm_eval.defaults import DEFAULT_OTHER_SEED
    from lm_eval.evaluator import evaluate

    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)  # every model sees the same examples
    # A task that samples its answers draws from PyTorch's global generator.
    with torch.random.fork_rng(devices=[] if settings.device.type == "cpu" else [settings.device]):
        torch.manual_seed(DEFAULT_OTHER_SEED)
        results = evaluate(
            model,
            {"tasks": {name: task}},
            limit=settings.limit,
            bootstrap_iters=0,
            apply_chat_template=settings.chat_template,
            fewshot_as_multiturn=settings.chat_template,
        )
    return collect_metrics(results["results"][name], results["samples"][name], results["higher_is_better"][name])


def collect_metrics(
    aggregated: Mapping[str, Any], samples: Sequence[Mapping[str, Any]], higher_is_better: Mapping[str, bool]
) -> Metrics:
    """The metrics of a task out of lm-eval's results.

    Args:
        aggregated: ``"METRIC,FILTER"`` to the value over all items, among other entries.
        samples: one entry for every item and filter: its ``doc_id``, its ``filter``, the names of its ``metrics``, and
            their values under those names.
        higher_is_better: by metric.
    """
    found: dict[str, dict[int, Any]] = {}
    for sample in samples:
        for metric in sample["metrics"]:
            found.setdefault(f"{metric},{sample['filter']}", {})[int(sample["doc_id"])] = sample[metric]
    metrics = {}
    for name, by_item in found.items():
        value = _number(aggregated.get(name))
        if value is None:
            continue
        items = sorted(by_item)
        scores = [score for score in (_number(by_item[item]) for item in items) if score is not None]
        mean = math.fsum(scores) / len(items)
        is_mean = len(scores) == len(items) and math.isclose(mean, value, abs_tol=1e-9)
        metrics[name] = Metric(
            value=value,
            higher_is_better=higher_is_better.get(name.partition(",")[0]),
            items=tuple(items),
            scores=tuple(scores) if is_mean else None,
        )
    return metrics


def _number(value: Any) -> float | None:
    """The value as a number; None where it is none, or not finite."""
    return float(value) if isinstance(value, (Real, np.bool_)) and math.isfinite(value) else None
