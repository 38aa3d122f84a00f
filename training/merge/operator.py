"""What a merge operator is: settings, and a rule for every tensor."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.merge.inputs import Elements, MergeInputs
from training.merge.safetensors_file import StoredTensor
from training.settings_file import Settings


@dataclass(frozen=True, slots=True)
class Rule:
    """How one tensor is merged.

    Attributes:
        merge: from the elements of all inputs to the merged elements, in the same dtype; called on several threads of
            the inputs' pool at once, so it must not wait for the pool. The engine checks the result and rounds it once
            to the inputs' dtype.
        whole: whether the tensor is wanted as a whole, in its shape; otherwise it comes in flat chunks of any size.
    """

    merge: Callable[[Elements], NDArray[Any]]
    whole: bool = False


Plan = Callable[[StoredTensor], Rule]
"""The rule of each tensor of the model, by the tensor as the first branch stores it."""


class Operator(Settings, ABC):
    """A merge operator; its fields are its settings.

    Tensors that are the same bit for bit in all inputs never reach an operator: the engine copies them.
    """

    name: ClassVar[str]
    """What it is called on the command line and in arms."""
    revision: ClassVar[int] = 1
    """Counts changes of what it computes, so that a run does not keep what an earlier form made."""
    needs_start: ClassVar[bool] = True
    """Whether it reads the start, the model all branches began from."""
    needs_second_moments: ClassVar[bool] = False
    """Whether it reads what Adam left beside each branch."""
    takes_weights: ClassVar[bool] = False
    """Whether it weighs the branches, by weights that sum to one; others sum or find weights themselves."""

    @abstractmethod
    def plan(self, inputs: MergeInputs) -> Plan:
        """Look at the inputs as far as needed, and say how each tensor is merged.

        Raises:
            InputError: settings that do not fit the inputs.
        """


def weighted_sum(rows: NDArray[Any], factors: NDArray[Any] | tuple[float, ...]) -> NDArray[Any]:
    """Sum of ``rows`` [K, …] times ``factors`` [K], in the memory of the rows and in their dtype."""
    total = None
    for row, factor in zip(rows, factors, strict=True):
        row *= factor
        total = row if total is None else np.add(total, row, out=total)
    assert total is not None, "there is at least one branch"
    return total
