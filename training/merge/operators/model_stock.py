r"""Model Stock (arXiv 2403.19522): how far to trust the branches' average, by how much they agree, tensor by tensor.

With $\cos\Theta$ the mean cosine between displacements $D_k = \theta_k - \theta^0$ over all pairs of $K$ branches,

$$\bar\theta = \theta^0 + \frac{t}{K} \sum_k D_k, \qquad t = \frac{K \cos\Theta}{1 + (K - 1) \cos\Theta}.$$
"""

from itertools import combinations
from statistics import fmean
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.errors import InputError
from training.merge.inner_products import cosine, gram_matrix
from training.merge.inputs import Elements, MergeInputs
from training.merge.operator import Operator, Plan, Rule, weighted_sum
from training.merge.safetensors_file import StoredTensor

SINGULAR = 1e-6
"""Denominators of the ratio t up to this give none: the branches point apart, and the tensor stays the start's."""


class ModelStock(Operator):
    """The average of the branches, drawn back to the start the more their displacements differ in direction.

    A branch that did not move a tensor has cosine zero with the others there. It has no settings.
    """

    name: ClassVar[str] = "model-stock"

    def plan(self, inputs: MergeInputs) -> Plan:
        """A rule for each tensor, by the cosines between its displacements.

        Raises:
            InputError: there is only one branch, and so no cosine.
        """
        count = len(inputs.branches)
        if count < 2:
            raise InputError(f"operator {self.name!r} compares branches and was given one; give it two or more")

        def rule(tensor: StoredTensor) -> Rule:
            gram = gram_matrix(inputs.only(tensor.name), lambda elements: elements.displacements()[1])
            factors = (interpolation_ratio(gram) / count,) * count

            def merge(elements: Elements) -> NDArray[Any]:
                start, displacements = elements.displacements()
                return np.add(start, weighted_sum(displacements, factors), out=start)

            return Rule(merge)

        return rule


def interpolation_ratio(gram: NDArray[np.float64]) -> float:
    r"""The ratio $t$ from the inner products [K, K] of the displacements.

    >>> interpolation_ratio(np.array([[1.0, 0.5], [0.5, 1.0]]))  # 2 · ½ / (1 + ½)
    0.6666666666666666
    """
    count = len(gram)
    mean = fmean(cosine(gram, i, j) for i, j in combinations(range(count), 2))
    denominator = 1 + (count - 1) * mean
    return count * mean / denominator if denominator > SINGULAR else 0.0
