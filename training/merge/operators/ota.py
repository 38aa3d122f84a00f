r"""OTA merging (arXiv 2509.11167): every entry averaged by the curvature that each branch saw there.

With $v_k$ Adam's raw second moments of branch $k$, $D_k = \theta_k - \theta^0$ and masks $m_k$,

$$\bar\theta = \theta^0 + \lambda \frac{\sum_k a_k \odot D_k}{\sum_k a_k},
\qquad a_k = (\sqrt{v_k} + \varepsilon) \odot m_k,$$

and $\theta^0$ where no branch has weight. All masks are one at ``density`` 1; below, they are those of Fast Fisher
Grafting, see :mod:`training.merge.operators.ffg`.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.merge.inputs import Elements, MergeInputs
from training.merge.operator import Operator, Plan, Rule
from training.merge.operators.ffg import root_moments, saliency, salient
from training.merge.order_statistics import thresholds


class Ota(Operator):
    r"""Average of displacements, weighed entry by entry by the root of Adam's second moments.

    Attributes:
        density: the share of entries that each branch keeps, over the whole model.
        scale: λ.
        epsilon: ε, the weight of a branch that saw no gradient; roots of moments are often below 1e-8, so it is tiny.
    """

    name: ClassVar[str] = "ota"
    needs_second_moments: ClassVar[bool] = True

    density: float = Field(default=1.0, gt=0, le=1)
    scale: float = 1.0
    epsilon: float = Field(default=1e-26, ge=0)

    def plan(self, inputs: MergeInputs) -> Plan:
        """One rule for all tensors."""
        limits = thresholds(inputs, saliency, self.density) if self.density < 1 else None

        def merge(elements: Elements) -> NDArray[Any]:
            start, displacements = elements.displacements()
            weights = root_moments(elements)
            mask = None if limits is None else salient(weights, displacements, limits)
            weights += self.epsilon
            if mask is not None:
                weights *= mask
            displacements *= weights
            total, merged = weights.sum(axis=0), displacements.sum(axis=0)
            np.divide(merged, total, out=merged, where=total > 0)
            merged *= self.scale
            return np.add(start, merged, out=merged)

        rule = Rule(merge)
        return lambda tensor: rule
