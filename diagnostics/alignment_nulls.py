"""What chance would give: combinations of the same gradients in random roles, and random vectors of the model's size.

A random vector is the wrong measure of chance. Gradients lie close to the sharp directions because of how a network is
built, and whatever is combined of them does, too; a vector of a million random entries lies nowhere near anything. The
comparison that tells something is with other combinations of the same gradients.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from merit_theory.conflict import Centre
from training.evaluation.noise import LEVEL

Floats = NDArray[np.float64]

TIED = 1e-9
"""Relative difference below which two statistics are equal: rounding must not rank what cannot differ."""


class Chance(BaseModel):
    """What draws of chance gave for a statistic.

    Attributes:
        low: 2.5 % of the draws lie below.
        median: half of them do.
        high: 97.5 % of them do.
        rank: share of them that lie below the observed value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float
    median: float
    high: float
    rank: float

    @classmethod
    def of(cls, observed: float, null: Floats) -> "Chance":
        """From the draws ``null`` [draws]."""
        low, median, high = np.quantile(null, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
        return cls(low=float(low), median=float(median), high=float(high), rank=quantile_rank(observed, null))

    @property
    def verdict(self) -> Literal["above", "below", "within"]:
        """Where the observed value lies to the central 95 % of chance."""
        if self.rank > (1 + LEVEL) / 2:
            return "above"
        return "below" if self.rank < (1 - LEVEL) / 2 else "within"


class Statistic(BaseModel):
    """A cosine beside two kinds of chance.

    Attributes:
        value: from all examples.
        halves: from either half of the examples alone, with the conflict directions found in it.
        span: random combinations of the same gradients.
        permutation: the same combination with the tasks' roles permuted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    halves: tuple[float, float]
    span: Chance
    permutation: Chance

    @property
    def error(self) -> float:
        """Half the difference of the halves: the standard error of their mean, on one degree of freedom."""
        return abs(self.halves[0] - self.halves[1]) / 2


def random_coefficients(
    tasks: int, directions: int, centre: Centre, draws: int, generator: np.random.Generator
) -> Floats:
    """Orthonormal coefficients as conflict directions have, but in a uniformly random position.

    Args:
        tasks: how many gradients are combined.
        directions: how many combinations a draw has.
        centre: ``double`` gives coefficients with sum zero.
        draws: how many.
        generator: of the draws.

    Returns:
        float64 [draws, directions, tasks].
    """
    noise = generator.standard_normal((draws, tasks, directions))
    if centre == "double":
        noise -= noise.mean(axis=1, keepdims=True)
    return np.swapaxes(np.linalg.qr(noise).Q, 1, 2)


def permuted_coefficients(coefficients: Floats, draws: int, generator: np.random.Generator) -> Floats:
    """The same ``coefficients`` [k, n] with the tasks in other roles, one permutation a draw: [draws, k, n]."""
    tasks = coefficients.shape[1]
    roles = generator.permuted(np.tile(np.arange(tasks), (draws, 1)), axis=1)
    return np.swapaxes(coefficients[:, roles], 0, 1)


def quantile_rank(observed: float, null: Floats) -> float:
    """Share of draws of chance [draws] that lie below ``observed``, equal ones by half; uniform if it is one of them.

    >>> quantile_rank(3.0, np.array([1.0, 2.0, 4.0]))
    0.625
    """
    reach = TIED * abs(observed)
    below = np.count_nonzero(null < observed - reach)
    equal = np.count_nonzero(np.abs(null - observed) <= reach)
    return float((below + 0.5 * (equal + 1)) / (len(null) + 1))


def random_vector_cosine(dimension: int, subspace: int) -> tuple[float, float]:
    r"""Mean and standard deviation of the cosine between a Gaussian vector and a fixed subspace.

    Its square has the distribution Beta(l/2, (d-l)/2), so the mean is
    $\Gamma(\tfrac{l+1}2)\Gamma(\tfrac d2) / (\Gamma(\tfrac l2)\Gamma(\tfrac{d+1}2))$ and the mean square l/d.

    Args:
        dimension: d, of the whole space.
        subspace: l, less than ``dimension``.
    """
    gammas = math.lgamma((subspace + 1) / 2) - math.lgamma(subspace / 2) - _log_gamma_step(dimension / 2)
    mean = math.exp(gammas)
    return mean, math.sqrt(max(subspace / dimension - mean**2, 0.0))


def _log_gamma_step(x: float) -> float:
    """Log of Γ(x + ½)/Γ(x); by its series where the difference of two large logarithms would lose digits."""
    if x < 1e4:
        return math.lgamma(x + 0.5) - math.lgamma(x)
    return 0.5 * math.log(x) - 1 / (8 * x) + 1 / (192 * x**3)
