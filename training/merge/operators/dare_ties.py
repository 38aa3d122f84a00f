r"""DARE before the sign election of TIES (arXiv 2311.03099 and 2306.01708), as mergekit combines them.

With $\hat d_k = p_k \, m_k \odot (\theta_k - \theta^0) / \rho$ as in :mod:`training.merge.operators.dare`, and
$s_j = 1$ where $\sum_k \hat d_{kj} \ge 0$, otherwise $-1$,

$$\bar\theta_j = \theta^0_j + \lambda \sum_{k \,:\, \operatorname{sign} \hat d_{kj} = s_j} \hat d_{kj}.$$
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.merge.inputs import Elements, MergeInputs
from training.merge.operator import Operator, Plan, Rule
from training.merge.operators.dare import drop_at_random
from training.merge.sign_election import keep_agreeing


class DareTies(Operator):
    """Displacements dropped at random, rescaled, weighed, and summed where they agree in sign.

    Attributes:
        density: ρ, the probability that an entry is kept.
        scale: λ.
        seed: of the masks, the same as those of ``dare`` with this seed.
    """

    name: ClassVar[str] = "dare-ties"
    takes_weights: ClassVar[bool] = True

    density: float = Field(default=0.9, gt=0, le=1)
    scale: float = 1.0
    seed: int = Field(default=0, ge=0)

    def plan(self, inputs: MergeInputs) -> Plan:
        """One rule for all tensors."""
        factors = tuple(weight / self.density for weight in inputs.weights)

        def merge(elements: Elements) -> NDArray[Any]:
            start, displacements = elements.displacements()
            drop_at_random(displacements, elements, self.density, self.seed)
            for row, factor in zip(displacements, factors, strict=True):
                row *= factor
            keep_agreeing(displacements, displacements.sum(axis=0) >= 0)
            merged = displacements.sum(axis=0)
            merged *= self.scale
            return np.add(start, merged, out=merged)

        rule = Rule(merge)
        return lambda tensor: rule
