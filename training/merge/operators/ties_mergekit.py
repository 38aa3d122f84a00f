r"""TIES merging (arXiv 2306.01708) as mergekit computes it: tensor by tensor, with weights.

For a tensor of $n$ elements, $\hat d_k$ keeps exactly $\max(1, \lfloor\rho n\rfloor)$ entries of
$d_k = \theta_k - \theta^0$, the largest in magnitude. With weights $p_k$ and $s_j = 1$ where
$\sum_k p_k \hat d_{kj} \ge 0$, otherwise $-1$,

$$\bar\theta_j = \theta^0_j + \lambda \, \frac{\sum_{k \in A_j} p_k \hat d_{kj}}{\sum_{k \in A_j} p_k},
\qquad A_j = \{k : \operatorname{sign}(p_k \hat d_{kj}) = s_j\}.$$

A denominator of zero is taken as one.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.merge.inputs import Elements, MergeInputs
from training.merge.operator import Operator, Plan, Rule
from training.merge.sign_election import keep_agreeing


class TiesMergekit(Operator):
    """TIES by tensor; see :class:`training.merge.operators.ties.Ties` for the official form.

    Ties: of entries that equal the smallest kept magnitude, those of the lowest index are kept. Which ones mergekit
    keeps is up to an unstable sort.

    Attributes:
        density: ρ, the share of entries that each branch keeps of each tensor.
        scale: λ.
    """

    name: ClassVar[str] = "ties-mergekit"
    takes_weights: ClassVar[bool] = True

    density: float = Field(default=0.2, gt=0, le=1)
    scale: float = 1.0

    def plan(self, inputs: MergeInputs) -> Plan:
        """One rule for all tensors, each as a whole."""

        def merge(elements: Elements) -> NDArray[Any]:
            start, displacements = elements.displacements()
            kept = displacements.reshape(len(displacements), -1)
            for row, weight in zip(kept, inputs.weights, strict=True):
                self._trim(row)
                row *= weight
            keep_agreeing(kept, kept.sum(axis=0) >= 0)
            agreeing = np.zeros(kept.shape[1], kept.dtype)
            for row, weight in zip(kept, inputs.weights, strict=True):
                agreeing += (row != 0) * kept.dtype.type(weight)
            agreeing[agreeing == 0] = 1
            merged = kept.sum(axis=0)
            merged /= agreeing
            merged *= self.scale
            return np.add(start, merged.reshape(start.shape))

        rule = Rule(merge, whole=True)
        return lambda tensor: rule

    def _trim(self, row: NDArray[Any]) -> None:
        """Set all entries of ``row`` [n] to zero but the largest."""
        dropped = len(row) - max(1, int(self.density * len(row)))
        if not dropped:
            return
        magnitudes = np.abs(row)
        limit = np.partition(magnitudes, dropped)[dropped]
        equal = np.flatnonzero(magnitudes == limit)
        room = len(row) - dropped - np.count_nonzero(magnitudes > limit)
        row[magnitudes < limit] = 0
        row[equal[room:]] = 0
