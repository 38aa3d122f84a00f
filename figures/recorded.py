"""What a finished run recorded of its arms and of their cost."""

from collections.abc import Mapping
from typing import Any

from training.errors import InputError, MissingInput
from training.run_directory import RunDirectory, read_json


def summary_of(run: RunDirectory) -> dict[str, Any]:
    """``summary.json`` of a run.

    Raises:
        MissingInput: the run has not ended.
        InputError: the file is damaged.
    """
    return _read(run, run.summary(".json"), "arms")


def cost_of(run: RunDirectory) -> dict[str, Any]:
    """``cost.json`` of a run.

    Raises:
        MissingInput: the run has not ended, or is older than the file.
        InputError: the file is damaged.
    """
    return _read(run, run.cost, "methods")


def is_arm(method: Mapping[str, Any]) -> bool:
    """Whether a row of ``cost.json`` is an arm of the run, and not what was computed to stand beside them."""
    return method["training_seconds"]["how"] == "measured"


def times_of(run: RunDirectory) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Seconds by stage, over all starts where the run has a ``cost.json``, and the rows of that, or none.

    Raises:
        MissingInput: the run has not ended.
        InputError: a file is damaged.
    """
    try:
        table = cost_of(run)
    except MissingInput:
        return summary_of(run)["stage_seconds"], []
    return {stage: seconds["value"] for stage, seconds in table["stage_seconds"].items()}, table["methods"]


def evaluations_of(run: RunDirectory) -> dict[str, Any]:
    """Results of every model of a run by its name, per task and in all.

    Raises:
        MissingInput: the run has not ended.
        InputError: the file is damaged.
    """
    return _read(run, run.evaluation_summary)


def _read(run: RunDirectory, path: Any, *keys: str) -> dict[str, Any]:
    remedy = f"python -m training run {run.config} --out {run.root}"
    if not path.is_file():
        raise MissingInput(f"{path} is missing; end the run with {remedy}")
    values = read_json(path)
    if not isinstance(values, dict) or not values.keys() >= set(keys):
        raise InputError(
            f"{path} is damaged, it holds no {' and no '.join(keys) or 'table'}; remove it and run {remedy}"
        )
    return values


def arms_of(run: RunDirectory) -> dict[str, dict[str, Any]]:
    """Rows of the summary by the name of their arm, in the recipe's order; errors as in :func:`summary_of`."""
    return {row["arm"]: row for row in summary_of(run)["arms"]}
