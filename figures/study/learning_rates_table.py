"""Loss of every arm by learning rate (Table 18)."""

from collections.abc import Sequence

from figures.cells import interval_cell
from figures.study.rates import Sweep, sweeps
from figures.study.settings import common_origin
from figures.table import MISSING, Block, Table
from training.run_directory import RunDirectory

NOTE = (
    "Loss in nats per answer token on held-out questions, mean over tasks, with its 95 % interval over the test items "
    "of one seed. A dash: the run at that rate has no such arm. The paper sweeps SGD in five rates up to 4e-4."
)


def tabulate(runs: Sequence[RunDirectory]) -> Table:
    """A row for each arm and a column for each rate; a block for each set of runs that differ in their rate alone.

    Raises:
        MissingInput: no two runs differ in their learning rate alone.
    """
    found = sweeps(runs)
    rates = sorted({rate for sweep in found for rate in sweep.rates})
    blocks = [Block(f"{common_origin(sweep.runs)}; {sweep.optimizer}", _rows(sweep, rates)) for sweep in found]
    return Table("Loss by learning rate", NOTE, ["arm", *(f"{rate:g}" for rate in rates)], blocks)


def _rows(sweep: Sweep, rates: Sequence[float]) -> list[list[str]]:
    return [
        [arm, *(interval_cell(losses[rate], 3) if rate in losses else MISSING for rate in rates)]
        for arm, losses in sweep.losses.items()
    ]
