r"""The linear merge, the paper's: $\bar\theta = \sum_k p_k \theta_k$."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.merge.inputs import MergeInputs
from training.merge.operator import Operator, Plan, Rule


class Linear(Operator):
    """Weighted average of the branches, see :func:`weighted_average`; weights may be negative but must sum to one."""

    name: ClassVar[str] = "linear"
    needs_start: ClassVar[bool] = False
    takes_weights: ClassVar[bool] = True

    def plan(self, inputs: MergeInputs) -> Plan:
        """One rule for all tensors."""
        rule = Rule(lambda elements: weighted_average(elements.branches, inputs.weights))
        return lambda tensor: rule


def weighted_average(branches: NDArray[Any], weights: Sequence[float]) -> NDArray[Any]:
    r"""Average ``branches`` [K, …] over K by weights that sum to one, in their own memory.

    Computed around the branch $a$ with the largest weight, $\theta_a + \sum_k p_k (\theta_k - \theta_a)$. Branches of
    one start lie close together, so the differences are small and the result is rounded about once, even where inputs
    are as precise as the sum; where branches agree it is their common value, and a branch of weight one is unchanged.

    >>> weighted_average(np.array([[0.0, 1.0], [4.0, 1.0]], np.float32), (0.25, 0.75)).tolist()
    [3.0, 1.0]
    """
    largest = int(np.argmax(weights))
    anchor = branches[largest]
    shift = None
    for k, weight in enumerate(weights):
        if k != largest and weight != 0:
            difference = branches[k]
            difference -= anchor
            difference *= weight
            shift = difference if shift is None else np.add(shift, difference, out=shift)
    return anchor if shift is None else np.add(anchor, shift, out=shift)
