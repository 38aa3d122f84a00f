"""Groups along principal axes against groups by K-means (Table 10)."""

from figures.origin import PAPER_VISION
from figures.recorded import arms_of
from figures.run.grouped_scores import measured_blocks
from figures.table import Block, Table
from training.errors import MissingInput
from training.run_directory import RunDirectory

RULES = {
    "PCA, median cuts": ("merit-1d", "merit-2d", "merit-3d"),
    "K-means": ("kmeans-2", "kmeans-4", "kmeans-8"),
    "K-means, equal sizes": ("kmeans-balanced-2", "kmeans-balanced-4", "kmeans-balanced-8"),
    "random, first draw": ("random-2", "random-4", "random-8"),
}
PAPER = [["PCA, median cuts", "56.3", "56.6", "57.2"], ["K-means", "55.5", "56.4", "56.5"]]
NOTE = (
    "Mean over tasks of the merged model; intervals over the test items of one seed. Random groups are the control of "
    "either rule. K-means without equal sizes may give a group most of the data. A dash: the run has no such arm. The "
    "paper's numbers are mean scores, higher being better."
)


def tabulate(run: RunDirectory) -> Table:
    """A row for each rule and a column for each number of groups.

    Raises:
        MissingInput: the run has not ended, or has no arm by K-means.
    """
    if not any(name.startswith("kmeans-") for name in arms_of(run)):
        raise MissingInput(f"{run.root} has no arm by K-means; add kmeans-2 to its arms, and run it")
    blocks = [*measured_blocks(run, RULES), Block(f"{PAPER_VISION}; mean score", PAPER)]
    return Table("Groups by PCA and by K-means", NOTE, ["groups by", "2 groups", "4 groups", "8 groups"], blocks)
