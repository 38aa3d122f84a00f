"""Methods and tasks: loss and right answers of every arm (Tables 2 to 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

from figures.arm_families import Family, by_family
from figures.cells import interval_cell, number_cell, percent_cell
from figures.names import shortened
from figures.origin import PAPER_VISION, origin
from figures.recorded import arms_of, evaluations_of
from figures.table import MISSING, Block, Table
from training.run_directory import RunDirectory

MOST_TASKS = 12
LONGEST_TASK = 14
METHODS = (Family.REFERENCES, Family.JOINT, Family.CONTROLS, Family.PARTITIONS, Family.SOUPS)
PAPERS_MEANS = {
    "joint": "54.3",
    "random groups": "54.4 to 54.6",
    "soups": "54.9 to 55.4",
    "MERIT-1D": "55.2",
    "MERIT-2D": "55.7",
    "MERIT-3D": "57.0",
}
NOTE = (
    "Mean: over the mixture's tasks, for the loss with its 95 % interval over the test items of one seed; unseen: over "
    "tasks outside the mixture. Nothing is set in bold: what separates an arm from its controls is told by paired "
    "differences, in arm_differences and the run's summary, and not by these intervals. The paper's mean is that of "
    "eight benchmarks, higher being better. A dash: not measured, or not given."
)


def tabulate(run: RunDirectory) -> Table:
    """The arms that no other operator merges, by family; with many tasks, their means alone.

    Raises:
        MissingInput: the run has not ended.
    """
    arms, evaluations = arms_of(run), evaluations_of(run)
    families = by_family(arms)
    chosen = [arm for family in METHODS for arm in families.get(family, ())]
    tasks = [task for task, own in evaluations[chosen[0]]["tasks"].items() if not own["unseen"]]
    note = NOTE
    if len(tasks) > MOST_TASKS:
        note += f" The run's {len(tasks)} tasks are in evaluation.json."
        tasks = []
    blocks = [
        Block(
            f"{origin(run)}; loss in nats per answer token, lower is better",
            [_losses(arms[arm], evaluations[arm]["tasks"], tasks) for arm in chosen],
        )
    ]
    if any(arms[arm]["results"]["exact_match"] is not None for arm in chosen):
        rows = [_matches(arms[arm], evaluations[arm]["tasks"], tasks) for arm in chosen]
        blocks.append(Block(f"{origin(run)}; exact match in %, higher is better", rows))
    dashes = [MISSING] * len(tasks)
    means = [[method, *dashes, mean, MISSING] for method, mean in PAPERS_MEANS.items()]
    blocks.append(Block(f"{PAPER_VISION}; mean score of eight benchmarks", means))
    columns = ["method", *(shortened(task, LONGEST_TASK) for task in tasks), "mean [95 %]", "unseen"]
    return Table("Methods and tasks", note, columns, blocks)


def _losses(arm: Mapping[str, Any], own: Mapping[str, Any], tasks: Sequence[str]) -> list[str]:
    cells = [number_cell(own[task]["loss"], 3) for task in tasks]
    return [arm["arm"], *cells, interval_cell(arm["loss"], 3), number_cell(arm["results"]["unseen_loss"], 3)]


def _matches(arm: Mapping[str, Any], own: Mapping[str, Any], tasks: Sequence[str]) -> list[str]:
    results = arm["results"]
    cells = [percent_cell(own[task]["exact_match"]) for task in tasks]
    return [arm["arm"], *cells, percent_cell(results["exact_match"]), percent_cell(results["unseen_exact_match"])]
