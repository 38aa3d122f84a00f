r"""Fast Fisher Grafting (arXiv 2509.11167): each branch keeps the entries that its own training cared about most.

With $v_k$ Adam's second moments of branch $k$, taken for its curvature, and $D_k = \theta_k - \theta^0$,

$$\bar\theta = \theta^0 + \lambda \sum_k p_k \, m_k \odot D_k, \qquad m_k = [\, v_k D_k^2 \ge t_k \,],$$

where $t_k$ is exact and such that a wanted share of all entries of the branch is kept.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.merge.inputs import Elements, MergeInputs
from training.merge.operator import Operator, Plan, Rule, weighted_sum
from training.merge.order_statistics import thresholds


class Ffg(Operator):
    """Weighted sum of grafted displacements; operator ``ota`` weighs them by curvature instead.

    Ties: every entry that equals the threshold is kept.

    Attributes:
        density: the share of entries that each branch keeps, over the whole model; .1 in the official code.
        scale: λ.
    """

    name: ClassVar[str] = "ffg"
    needs_second_moments: ClassVar[bool] = True
    takes_weights: ClassVar[bool] = True

    density: float = Field(default=0.1, gt=0, le=1)
    scale: float = 1.0

    def plan(self, inputs: MergeInputs) -> Plan:
        """One rule for all tensors."""
        limits = thresholds(inputs, saliency, self.density)
        factors = tuple(self.scale * weight for weight in inputs.weights)

        def merge(elements: Elements) -> NDArray[Any]:
            start, displacements = elements.displacements()
            displacements *= salient(root_moments(elements), displacements, limits)
            return np.add(start, weighted_sum(displacements, factors), out=start)

        rule = Rule(merge)
        return lambda tensor: rule


def root_moments(elements: Elements) -> NDArray[Any]:
    r"""$\sqrt{v_k}$ [K, n], in the memory of the moments."""
    assert elements.second_moments is not None, "the operator says that it needs them"
    return np.sqrt(elements.second_moments, out=elements.second_moments)


def saliency(elements: Elements) -> NDArray[Any]:
    r"""$\sqrt{v_k} D_k$ [K, n], whose magnitudes are ordered as $v_k D_k^2$ but do not underflow."""
    _, displacements = elements.displacements()
    displacements *= root_moments(elements)
    return displacements


def salient(roots: NDArray[Any], displacements: NDArray[Any], limits: NDArray[Any]) -> NDArray[np.bool_]:
    """Which entries [K, n] have a saliency of at least their branch's limit [K]."""
    scores = roots * displacements
    return np.abs(scores, out=scores) >= limits[:, None]
