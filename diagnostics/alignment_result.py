"""What the alignment of conflict axes with sharp directions is: its numbers, part by part."""

import math
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from diagnostics.alignment_nulls import Statistic
from diagnostics.result import Result
from diagnostics.spectrum import Spectrum

SetName = Literal["chosen", "without-norms"]
AxesName = Literal["raw", "double-centred"]


class Numbers(BaseModel):
    """Base of the parts of the result."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Spread(Numbers):
    """Mean and standard deviation of cosines with the eigenspace."""

    mean: float
    deviation: float


class Curvature(Numbers):
    """How the loss bends along a direction.

    Attributes:
        value: ûᵀHû of the unit vector, in nats per answer token.
        positive: lower bound, estimate and upper bound of the share of the squared length that lies in directions of
            positive curvature; None where one product was all that was taken.
    """

    value: float
    positive: tuple[float, float, float] | None


class Direction(Numbers):
    """One conflict direction, from the leading one on.

    Attributes:
        explained: share of the trace of the tasks' matrix.
        eigenspace: cosine of its angle to the eigenspace: the root of the share of its squared norm that lies there.
        nearest: largest |cosine| with one eigenvector.
        eigenvector: position of that eigenvector.
        half_cosine: between the directions that the same coefficients make of either half of the examples.
        corrected: ``eigenspace`` without what sampling noise takes from it; None where the halves do not agree.
        gaussian_z: (cosine - mean) / deviation of Gaussian vectors. Any combination of gradients has a large one.
        curvature: along it.
    """

    explained: float
    eigenspace: Statistic
    nearest: Statistic
    eigenvector: int
    half_cosine: float
    corrected: float | None
    gaussian_z: float
    curvature: Curvature


class ConflictAxes(Numbers):
    """Conflict directions of one matrix between tasks.

    Attributes:
        name: ``raw``: eigenvectors of the Gram matrix, lifted by the gradients; ``double-centred``: of the
            double-centred cosine matrix, lifted by the gradients at unit length.
        directions: in descending order of eigenvalue.
        largest: largest |cosine| of any direction with any eigenvector.
        mean_nearest: mean over directions of the largest |cosine| of each.
        leading: cosine of the smallest angle between the span of the directions and the eigenspace.
    """

    name: AxesName
    directions: tuple[Direction, ...]
    largest: Statistic
    mean_nearest: Statistic
    leading: Statistic

    @property
    def leading_angle(self) -> float:
        """The smallest principal angle, in degrees."""
        return math.degrees(math.acos(self.leading.value))


class BranchDirection(Numbers):
    """A branch's displacement from the start, over the chosen parameters, and how the loss bends along it."""

    branch: str
    length: float
    curvature: Curvature


class ParameterSet(Numbers):
    """Everything measured over one set of parameters.

    Attributes:
        name: ``chosen`` by the settings among those that were trained, or the same ``without-norms``.
        tensors: how many.
        entries: of all of them together.
        spectrum: of the Hessian over them.
        random_vector: a Gaussian vector's cosine with the eigenspace, exact.
        task_gradient: a single task's gradient's, mean and standard deviation over tasks.
        task_cosines: of each task's gradient, in the order of tasks.
        axes: raw and double-centred.
        branches: those that moved these parameters.
        random_direction: curvature along a Gaussian vector.
        sketch_error: largest relative error that sketches left in the norm of a conflict direction.
    """

    name: SetName
    tensors: int
    entries: int
    spectrum: Spectrum
    random_vector: Spread
    task_gradient: Spread
    task_cosines: tuple[float, ...]
    axes: tuple[ConflictAxes, ...]
    branches: tuple[BranchDirection, ...]
    random_direction: Curvature
    sketch_error: float


class Alignment(Result):
    """Conflict directions against the sharp directions of the loss at the start.

    Attributes:
        parameters: the patterns that chose the parameters.
        tasks: names.
        hessian_tasks: those whose examples make the Hessian.
        hessian_examples: of all of them together.
        hessian_answer_tokens: of those examples.
        gradient_examples: of the task that has fewest.
        shared_examples: of one task that are at most in both the Hessian and the gradients.
        norm_share: share of the tasks' mean squared gradient norm on one-dimensional parameters, which are RMSNorm and
            LayerNorm weights and biases; None where the chosen parameters are all of that kind or none is.
        null_draws: of each kind of chance.
        sets: the chosen parameters, and the same without norms where both differ.
    """

    name: ClassVar[str] = "alignment"
    uses: ClassVar[tuple[str, ...]] = ("alignment",)

    parameters: tuple[str, ...]
    tasks: tuple[str, ...]
    hessian_tasks: tuple[str, ...]
    hessian_examples: int
    hessian_answer_tokens: int
    gradient_examples: int
    shared_examples: int
    norm_share: float | None
    null_draws: int
    sets: tuple[ParameterSet, ...]
