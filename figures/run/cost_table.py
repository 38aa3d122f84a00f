"""Memory, time and traffic of every arm beside data-parallel training, PCGrad and GradNorm (Table 17)."""

from collections.abc import Mapping
from typing import Any

from figures.arm_families import by_family
from figures.origin import origin
from figures.recorded import cost_of, is_arm
from figures.table import MISSING, Block, Table
from training.errors import MissingInput
from training.run_directory import RunDirectory

GIGABYTE = 1e9
COLUMNS = {
    "peak memory GB": ("peak_memory_bytes", GIGABYTE),
    "training s": ("training_seconds", 1.0),
    "to the model s": ("seconds_to_model", 1.0),
    "machine s": ("machine_seconds", 1.0),
    "exchanged GB": ("exchanged_bytes", GIGABYTE),
    "synchronisations": ("synchronisations", 1.0),
    "more backward passes": ("extra_backward_passes", 1.0),
}
NOTE = (
    "A plain number was measured in the run, one after ≈ computed from what was, one after ≥ computed with network and "
    "arithmetic on gradients free; the formulas are in cost.json, and counts follow from the recipe. Each branch is "
    "taken to have a machine of its own: training is that of the longest branch, machine seconds the sum, and to the "
    "model adds the conflict pass, the merge and what is fitted. PCGrad and GradNorm pass backward once for every task "
    "in a batch; PCGrad keeps all these gradients, which at the paper's scale are 136 full ones. A dash: not recorded."
)


def tabulate(run: RunDirectory) -> Table:
    """A block of the run's arms, by family, and one of what stands beside them for each number of machines.

    Raises:
        MissingInput: the run has no ``cost.json``, or trains nothing.
    """
    table = cost_of(run)
    if not table["methods"]:
        raise MissingInput(f"{run.root} trains nothing whose cost could be told; add an arm such as joint, and run it")
    arms = {row["method"]: row for row in table["methods"] if is_arm(row)}
    ordered = [arms[arm] for family in by_family(arms).values() for arm in family]
    beside = [row for row in table["methods"] if row["method"] not in arms]
    where = f"{origin(run)}; {table['hardware']}"
    blocks = [Block(where, [_row(row) for row in ordered])]
    if beside:
        blocks.append(Block(f"{where}; computed for the batches of joint training", [_row(row) for row in beside]))
    return Table("Cost of the arms and of other methods", NOTE, ["method", "machines", *COLUMNS], blocks)


def _row(method: Mapping[str, Any]) -> list[str]:
    return [
        method["method"],
        str(method["machines"]),
        *(_cell(method[quantity], unit) for quantity, unit in COLUMNS.values()),
    ]


def _cell(cost: Mapping[str, Any] | None, unit: float) -> str:
    if cost is None:
        return MISSING
    value = cost["value"] / unit
    is_count = unit == 1 and isinstance(cost["value"], int)
    text = f"{value:,.0f}" if is_count or value >= 1000 else f"{value:.3g}"
    if cost["how"] == "measured" or (is_count and not cost["at_least"]):
        return text
    return f"{'≥' if cost['at_least'] else '≈'} {text}"
