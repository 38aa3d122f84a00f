r"""Spherical interpolation of two branches, tensor by tensor.

With $\Theta$ the angle between the two tensors taken as vectors, and weights $p_1 + p_2 = 1$,

$$\bar\theta = \frac{\sin(p_1 \Theta)}{\sin \Theta} \, \theta_1 + \frac{\sin(p_2 \Theta)}{\sin \Theta} \, \theta_2.$$

Where $|\cos\Theta| > 0.9995$, mergekit's limit, or a tensor is zero, it is the average $p_1\theta_1 + p_2\theta_2$.
Branches of one start mostly lie that close together.
"""

from typing import ClassVar

import numpy as np

from training.errors import InputError
from training.merge.inner_products import cosine, gram_matrix
from training.merge.inputs import MergeInputs
from training.merge.operator import Operator, Plan, Rule, weighted_sum
from training.merge.operators.linear import weighted_average
from training.merge.safetensors_file import StoredTensor

COLLINEAR = 0.9995


class Slerp(Operator):
    """Interpolation along the great circle through two branches; the second one's weight is what mergekit calls t."""

    name: ClassVar[str] = "slerp"
    needs_start: ClassVar[bool] = False
    takes_weights: ClassVar[bool] = True

    def plan(self, inputs: MergeInputs) -> Plan:
        """A rule for each tensor, by its angle.

        Raises:
            InputError: there are not two branches.
        """
        if len(inputs.branches) != 2:
            raise InputError(f"operator {self.name!r} was given {len(inputs.branches)} branches; give it two")

        def rule(tensor: StoredTensor) -> Rule:
            gram = gram_matrix(inputs.only(tensor.name), lambda elements: elements.branches)
            cos = cosine(gram, 0, 1)
            if not gram.diagonal().all() or abs(cos) > COLLINEAR:
                return Rule(lambda elements: weighted_average(elements.branches, inputs.weights))
            angle = np.arccos(cos)
            factors = tuple(float(np.sin(weight * angle) / np.sin(angle)) for weight in inputs.weights)
            return Rule(lambda elements: weighted_sum(elements.branches, factors))

        return rule
