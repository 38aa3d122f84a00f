r"""DARE (arXiv 2311.03099): entries of the displacements dropped at random, the others rescaled, and averaged.

$$\bar\theta = \theta^0 + \lambda \sum_k p_k \, \frac{m_k \odot (\theta_k - \theta^0)}{\rho},
\qquad m_{kj} \sim \mathrm{Bernoulli}(\rho),$$

so that the merge is the one without dropping in expectation. mergekit's form rescales every tensor to its former sum of
magnitudes instead, which is biased where few entries are kept.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.merge.inputs import Elements, MergeInputs
from training.merge.operator import Operator, Plan, Rule, weighted_sum
from training.merge.random_masks import random_mask


class Dare(Operator):
    """Weighted sum of displacements that were dropped at random and rescaled.

    Attributes:
        density: ρ, the probability that an entry is kept, one minus the paper's drop rate; .9 in its merging script,
            while the paper drops up to nine of ten.
        scale: λ.
        seed: of the masks, see :func:`training.merge.random_masks.random_mask`.
    """

    name: ClassVar[str] = "dare"
    takes_weights: ClassVar[bool] = True

    density: float = Field(default=0.9, gt=0, le=1)
    scale: float = 1.0
    seed: int = Field(default=0, ge=0)

    def plan(self, inputs: MergeInputs) -> Plan:
        """One rule for all tensors."""
        factors = tuple(self.scale * weight / self.density for weight in inputs.weights)

        def merge(elements: Elements) -> NDArray[Any]:
            start, displacements = elements.displacements()
            drop_at_random(displacements, elements, self.density, self.seed)
            return np.add(start, weighted_sum(displacements, factors), out=start)

        rule = Rule(merge)
        return lambda tensor: rule


def drop_at_random(displacements: NDArray[Any], elements: Elements, density: float, seed: int) -> None:
    """Set entries of the ``displacements`` [K, n] of a chunk to zero that their branch's mask does not keep."""
    if density == 1:
        return
    for branch, row in enumerate(displacements):
        row *= random_mask(density, seed, branch, elements.tensor, elements.begin, len(row))
