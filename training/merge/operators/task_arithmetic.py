r"""Task arithmetic (arXiv 2212.04089): $\theta^0 + \lambda \sum_k (\theta_k - \theta^0)$."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.errors import InputError
from training.merge.inputs import Elements, MergeInputs
from training.merge.operator import Operator, Plan, Rule, weighted_sum


class TaskArithmetic(Operator):
    """The branches' displacements added up, and scaled.

    With one branch it moves along that branch's displacement: ``scale`` 0 is the start, 1 the branch.

    Attributes:
        scale: λ.
        factors: one per branch, in place of one for all.
    """

    name: ClassVar[str] = "task-arithmetic"

    scale: float = 1.0
    factors: tuple[float, ...] = ()

    def plan(self, inputs: MergeInputs) -> Plan:
        """One rule for all tensors.

        Raises:
            InputError: there are factors, and not one for each branch.
        """
        count = len(inputs.branches)
        if len(self.factors) not in (0, count):
            raise InputError(f"there are {len(self.factors)} factors for {count} branches; give one for each, or none")
        factors = tuple(self.scale * factor for factor in self.factors or (1.0,) * count)

        def merge(elements: Elements) -> NDArray[Any]:
            start, displacements = elements.displacements()
            return np.add(start, weighted_sum(displacements, factors), out=start)

        rule = Rule(merge)
        return lambda tensor: rule
