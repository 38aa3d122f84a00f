"""How far joint training and merged models move, and how well they do, by epochs of training (Tables 1 and 7)."""

from collections.abc import Sequence

from figures.cells import interval_cell, number_cell
from figures.origin import PAPER_VISION
from figures.study.settings import common_origin
from figures.study.trained_epochs import Trained, trained_by_epoch
from figures.table import MISSING, Block, Table
from training.run_directory import RunDirectory

COLUMNS = ["arm", "epochs", "‖θ − θ⁰‖", "training loss, model", "training loss, branches", "held-out loss [95 %]"]
PAPER = [
    ["joint", "0.5", "13.7", "0.71", MISSING, MISSING],
    ["joint", "6", "34.6", "0.06", MISSING, MISSING],
    ["merged", "0.5", "5.7", "1.20", MISSING, MISSING],
    ["merged", "6", "11.9", "1.33", MISSING, MISSING],
]
NOTE = (
    "Training loss of our arms: over the last tenth of the steps, per answer token; with several branches it is "
    "theirs, for no run measures that of the merged model. Held-out loss: mean over tasks, with its interval over the "
    "test items of one seed. The two average differently: compare their trends, not their levels."
)


def tabulate(runs: Sequence[RunDirectory]) -> Table:
    """A block for each set of runs that differ in their epochs alone, joint training first.

    Raises:
        MissingInput: no arm was trained for different numbers of epochs.
        InputError: a file is damaged.
    """
    blocks = [Block(common_origin(alike), [_row(own) for own in arms]) for alike, arms in trained_by_epoch(runs)]
    blocks.append(Block(PAPER_VISION, PAPER))
    return Table("Displacement and loss by epochs", NOTE, COLUMNS, blocks)


def _row(trained: Trained) -> list[str]:
    training = number_cell(trained.training_loss, 3)
    return [
        trained.method,
        f"{trained.epochs:g}",
        number_cell(trained.displacement, 2),
        *([training, MISSING] if trained.method == "joint" else [MISSING, training]),
        interval_cell(trained.loss, 3),
    ]
