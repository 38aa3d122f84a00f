r"""The drift-corrected merge: the weighted average and what takes it back towards joint training.

$\bar\theta + \lambda c$, with the correction c that ``training.arms.drift`` measures in one round of gradients at the
branches and at their mean (ours; theorem C of ``merit_theory.merged_loss``).
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import field_serializer

from training.errors import InputError
from training.merge.inputs import Elements, MergeInputs
from training.merge.operator import Operator, Plan, Rule
from training.merge.operators.linear import weighted_average
from training.merge.safetensors_file import StoredTensor, open_tensors


class DriftCorrected(Operator):
    """The weighted average moved by a correction that was measured for it.

    Attributes:
        drift: the safetensors file of the correction, tensors by the parameters' names.
        scale: λ.
    """

    name: ClassVar[str] = "drift-corrected"
    needs_start: ClassVar[bool] = False
    takes_weights: ClassVar[bool] = True

    drift: Path | None = None
    scale: float = 1.0

    @field_serializer("drift", when_used="json")
    def _name_alone(self, drift: Path | None) -> str | None:
        return None if drift is None else drift.name

    def plan(self, inputs: MergeInputs) -> Plan:
        """The average, and the correction of the tensors that have one.

        Raises:
            InputError: the file is missing, or has a tensor that the branches lack or hold in another shape.
        """
        if self.drift is None or not self.drift.is_file():
            raise InputError(
                f"merge operator {self.name}: drift is {self.drift}, which is no file; give the one that a run with "
                "this arm measured"
            )
        corrections = inputs.opened.enter_context(open_tensors(self.drift))
        for name, correction in corrections.items():
            if name not in inputs.branches[0] or inputs.branches[0][name].shape != correction.shape:
                raise InputError(f"the drift {self.drift} has {name!r}, which the branches lack or hold otherwise")

        def rule(tensor: StoredTensor) -> Rule:
            correction = corrections.get(tensor.name)

            def merge(elements: Elements) -> NDArray[Any]:
                average = weighted_average(elements.branches, inputs.weights)
                if correction is None:
                    return average
                moved = np.empty(average.size, correction.element.storage)
                correction.read(elements.begin, moved)
                moved *= self.scale
                return np.add(average, moved, out=average, casting="same_kind")

            return Rule(merge)

        return rule
