"""Arms: what is compared. An arm is some branches and a way to merge them; joint training is an arm with one branch.

An arm's name says both: ``merit-2d+ties@0.8`` is the branches of ``merit-2d``, merged by TIES, at θ⁰ + 0.8 δ. Branches
are named by the hash of their spec, so arms that share a branch train it once, and an arm that only merges otherwise
trains nothing.
"""

import re
from dataclasses import dataclass
from typing import Literal

from training.conflicts.partition_rules import PartitionRule
from training.merge.operator import Operator
from training.merge.operators.drift_corrected import DriftCorrected
from training.merge.operators.linear import Linear

PAPERS_MERGE = Linear()


@dataclass(frozen=True, slots=True)
class Whole:
    """One branch over the whole mixture.

    Attributes:
        epochs: times the recipe's epochs.
        batch: times the recipe's batch size; with ``strata`` it is the number of the rule's groups instead.
        strata: the rule whose groups every batch is stratified over; None for plain shuffling.
    """

    epochs: float = 1.0
    batch: int = 1
    strata: PartitionRule | None = None


@dataclass(frozen=True, slots=True)
class Shares:
    """``count`` branches over all tasks, each with its own share of every task's rows (lo-fi, arXiv 2210.11948)."""

    count: int


@dataclass(frozen=True, slots=True)
class Soup:
    """``count`` branches over the whole mixture in orders of their own.

    Attributes:
        count: number of branches.
        split: each has the ``count``-th part of the recipe's epochs; all together cost what joint training does.
    """

    count: int
    split: bool = False


Branches = Literal["base", "start"] | Whole | PartitionRule | Shares | Soup


@dataclass(frozen=True, slots=True)
class Arm:
    """One unit of comparison.

    Attributes:
        name: as in the recipe.
        branches: what is trained: a branch for each group of a rule, or as its type says. ``base`` and ``start`` are
            models of the run that nothing is trained for.
        weights: of the branches: their tokens, equal, or fitted on validation data.
        operator: the merge operator; the weighted mean of the paper unless the name says another.
        scale: λ in θ⁰ + λδ, where δ is the displacement of the merged model; None leaves it as it is.
    """

    name: str
    branches: Branches
    weights: Literal["tokens", "uniform", "fitted"] = "tokens"
    operator: Operator = PAPERS_MERGE
    scale: float | Literal["fitted"] | None = None

    @property
    def branches_name(self) -> str:
        """The name without what says how branches are merged: arms that have it in common share their branches.

        >>> Arm("soup-2+ties@0.8", Soup(2)).branches_name
        'soup-2'
        """
        return re.split("[+@]", self.name)[0].removesuffix("-uniform")

    @property
    def merged_name(self) -> str:
        """The name without its scale: arms that have it in common scale one merge.

        >>> Arm("soup-2+ties@0.8", Soup(2)).merged_name
        'soup-2+ties'
        """
        return self.name.partition("@")[0]

    @property
    def untrained(self) -> Literal["base", "start"] | None:
        """The model of the run that this arm is, if it is one."""
        return self.branches if isinstance(self.branches, str) else None

    @property
    def partition(self) -> PartitionRule | None:
        """The rule whose groups become branches."""
        return self.branches if isinstance(self.branches, PartitionRule) else None

    @property
    def rule(self) -> PartitionRule | None:
        """The rule that divides the tasks before anything is trained: into branches, or into strata of a batch."""
        return self.branches.strata if isinstance(self.branches, Whole) else self.partition

    @property
    def weighs_equally(self) -> bool:
        """Whether the branches' mean is the plain one: so it was asked, or every branch has seen all tasks."""
        return self.weights == "uniform" or isinstance(self.branches, Shares | Soup)

    @property
    def is_average(self) -> bool:
        """Whether the model is the branches' mean, which is what a statement about their basin needs."""
        return self.operator == PAPERS_MERGE and self.weights != "fitted" and self.scale is None

    @property
    def fits(self) -> tuple[str, ...]:
        """Names of the fits on validation data that the model depends on: of its weights, of its scale."""
        weights = (self.merged_name,) if self.weights == "fitted" else ()
        return (*weights, self.name) if self.scale == "fitted" else weights

    def reads_second_moments(self, optimizer: str) -> bool:
        """Whether its merge reads Adam's second moments of branches that were trained by this optimiser.

        The drift is measured in Adam's metric where there is one, and needs none under gradient descent.
        """
        measures_drift = isinstance(self.operator, DriftCorrected) and optimizer == "adamw"
        return self.operator.needs_second_moments or measures_drift
