r"""TIES merging (arXiv 2306.01708) as its official code computes it: trim, elect signs, merge those that agree.

Over the whole flattened model, with displacements $d_k = \theta_k - \theta^0$ and $n$ parameters, frozen ones too:

$$\hat d_k = d_k \, [\,|d_k| \ge t_k\,], \qquad t_k = (n - \lfloor\rho n\rfloor)\text{-th smallest } |d_{kj}|$$
$$s_j = \operatorname{sign} \sum_k \hat d_{kj}, \text{ and where that is zero, } s_j = \operatorname{sign} \sum_i s_i$$
$$\bar\theta_j = \theta^0_j + \lambda \operatorname{mean}\{\hat d_{kj} : \operatorname{sign} \hat d_{kj} = s_j\}$$

The thresholds are exact and found in two passes over float32 or bfloat16 inputs (four over float64). With more than one
branch another pass finds the sign of coordinates on which branches cancel out: rounded weights make them common.
"""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.merge.inputs import Elements, MergeInputs
from training.merge.operator import Operator, Plan, Rule
from training.merge.order_statistics import thresholds
from training.merge.sign_election import keep_agreeing


class Ties(Operator):
    """Displacements trimmed to their largest entries, merged where they agree in sign.

    Ties: every entry that equals the threshold is kept, as in the official code. Weights in bfloat16 are so coarse that
    a large share of |d| can be equal, and more than ``density`` of the entries be kept.

    Attributes:
        density: ρ, the share of entries that each branch keeps.
        scale: λ.
        aggregation: what is made of the entries that agree: their mean, their sum, or the largest.
        scope: what is flattened and trimmed together, and casts one vote on undecided signs.
    """

    name: ClassVar[str] = "ties"

    density: float = Field(default=0.2, gt=0, le=1)
    scale: float = 1.0
    aggregation: Literal["mean", "sum", "max"] = "mean"
    scope: Literal["model", "tensor"] = "model"

    def plan(self, inputs: MergeInputs) -> Plan:
        """One rule for all tensors, or one for each."""
        if self.scope == "tensor":
            return lambda tensor: self._rule(inputs.only(tensor.name))
        rule = self._rule(inputs)
        return lambda tensor: rule

    def _rule(self, inputs: MergeInputs) -> Rule:
        limits = thresholds(inputs, lambda elements: elements.displacements()[1], self.density)
        undecided_positive = _majority(inputs, limits) > 0

        def merge(elements: Elements) -> NDArray[np.floating]:
            start, kept, total = _trimmed(elements, limits)
            positive = total >= 0 if undecided_positive else total > 0
            keep_agreeing(kept, positive)
            if self.aggregation == "max":
                merged = np.where(positive, kept.max(axis=0), kept.min(axis=0))
            else:
                merged = kept.sum(axis=0, out=total)
            if self.aggregation == "mean":
                merged /= np.maximum((kept != 0).sum(axis=0, dtype=np.uint16), 1)
            merged *= self.scale
            return np.add(start, merged, out=merged)

        return Rule(merge)


def _trimmed(
    elements: Elements, limits: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """The start, what is kept of the displacements, and the sum of that over the branches."""
    start, displacements = elements.displacements()
    for row, limit in zip(displacements, limits, strict=True):
        row *= np.abs(row) >= limit
    return start, displacements, displacements.sum(axis=0)


def _majority(inputs: MergeInputs, limits: NDArray[np.floating]) -> int:
    """By how many coordinates with a positive sum outnumber those with a negative one."""
    if len(inputs.branches) == 1:
        return 0  # a sum of one is zero only where nothing was kept

    def majority(elements: Elements) -> int:
        with np.errstate(over="ignore", invalid="ignore"):
            total = _trimmed(elements, limits)[2]
        return int(np.count_nonzero(total > 0)) - int(np.count_nonzero(total < 0))

    return sum(inputs.over_chunks(majority))
