"""Which centring of the conflict matrix sees conflicts and not the gradient that all tasks share."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from merit_theory.eigenspace import cosine_of_gram, leading_eigenspace
from merit_theory.propositions.proposition import (
    Batch,
    Claim,
    Demonstration,
    Ensemble,
    Numbers,
    Outcome,
    Proposition,
    Sides,
)
from merit_theory.quick_jit import quick_jit
from merit_theory.split_gain import double_centred, expected_random_form, median_split, signed_form


class SharedGradient(NamedTuple):
    """Task gradients and a gradient that is added to all of them.

    Attributes:
        gradients: float64 [n, d].
        shared: float64 [d].
    """

    gradients: Float[Numbers, "n d"]
    shared: Float[Numbers, " d"]

    @property
    def gram(self) -> Float[Array, "n n"]:
        """Inner products with the shared gradient added."""
        rows = self.gradients + self.shared[None, :]
        return rows @ rows.T


def _no_better_than_random(tasks: SharedGradient) -> Sides:
    expected = expected_random_form(tasks.gram)
    return Sides(expected, _uncentred_form(tasks), expected)


def _uncentred_form(tasks: SharedGradient) -> Float[Array, ""]:
    """sᵀK₀s of the median split along the first axis of the uncentred cosine matrix."""
    return signed_form(tasks.gram, median_split(leading_eigenspace(cosine_of_gram(tasks.gram), 1, "none")[:, 0]))


def _unmoved(tasks: SharedGradient) -> Sides:
    without = tasks.gradients @ tasks.gradients.T
    return Sides(
        double_centred(tasks.gram), double_centred(without), jnp.abs(tasks.gram).max() + jnp.abs(without).max()
    )


def _draw(rng: np.random.Generator, n: int) -> Batch:
    size = 10.0 ** rng.uniform(-2.0, 2.0, (n, 1))
    return SharedGradient(rng.standard_normal((n, 6, 4)), size * rng.standard_normal((n, 4)))


def _camps(rng: np.random.Generator, aligned: bool) -> NDArray[np.float64]:
    """Two camps of eight tasks around a long shared gradient; one half of the tasks stray from it more than the other.

    The half that strays, and so has the smaller cosines with everything, is one of the camps or a random half.
    """
    camps = np.repeat([1.0, -1.0], 8)
    stray = np.where((camps if aligned else rng.permutation(camps)) > 0, 0.1, 0.5)
    gradients = stray[:, None] * rng.standard_normal((16, 32))
    gradients[:, 0] += 1.5 * camps
    gradients[:, 1] += 6.0
    return gradients


def _by_alignment(rng: np.random.Generator) -> Outcome:
    """Mean form over random mean, of the uncentred split, with alignment tied to the camps and not."""
    ratio = quick_jit(lambda tasks: _uncentred_form(tasks) / expected_random_form(tasks.gram))
    means = []
    for aligned in (True, False):
        ratios = []
        for _ in range(40):
            ratios.append(float(ratio(SharedGradient(_camps(rng, aligned), np.zeros(32)))))
        means.append(float(np.mean(ratios)))
    return Outcome(means[0] > 2 * means[1], f"{means[0]:.2f} × random with, {means[1]:.2f} × random without")


TWO_CAMPS = SharedGradient(
    np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, -1.0, 2.0, 0.0], [0.0, -1.0, 0.0, 2.0]]),
    np.array([4.0, 0.0, 0.0, 0.0]),
)
"""The second camp strays from the shared gradient more than the first."""

PROPOSITION = Proposition(
    id="centring",
    reference="Algorithm 1, PCA of C",
    statement="With a shared gradient, the first axis of the uncentred cosine matrix is no better a guide than chance.",
    scope="one-step",
    verdict="false as stated",
    claim=Claim(
        reads="E sᵀK₀s ≥ sᵀK₀s(uncentred C)", sides=_no_better_than_random, relation="≥", refutations=(TWO_CAMPS,)
    ),
    corrected=Claim(
        reads="PK₀P is the same with every shared gradient",
        sides=_unmoved,
        relation="=",
        ensembles=(Ensemble(_draw),),
        tolerance=1e-12,
    ),
    demonstrations=(
        Demonstration("it is one where the camps align differently with the shared gradient", _by_alignment),
    ),
)
