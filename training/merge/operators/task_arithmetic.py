r"""Task arithmetic (arXiv 2212.04089): $\theta^0 + \lambda \sum_k (\theta_k - \theta^0)$."""

from typing import ClassVar

import numpy as np

from training.merge.inputs import Elements, MergeInputs
from training.merge.operator import Operator, Plan, Rule, weighted_sum


class TaskArithmetic(Operator):
    """The branches' displacements added up, and scaled.

    With one branch it moves along that branch's displacement: ``scale`` 0 is the start, 1 the branch.

    Attributes:
        scale: λ.
    """

    name: ClassVar[str] = "task-arithmetic"

    scale: float = 1.0

    def plan(self, inputs: MergeInputs) -> Plan:
        """One rule for all tensors."""
        factors = (self.scale,) * len(inputs.branches)

        def merge(elements: Elements) -> np.ndarray:
            start, displacements = elements.displacements()
            return np.add(start, weighted_sum(displacements, factors), out=start)

        rule = Rule(merge)
        return lambda tensor: rule
