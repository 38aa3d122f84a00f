"""Proposition F.8: curvature enters the gain with its third power."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from merit_theory.propositions.proposition import (
    Batch,
    Claim,
    Demonstration,
    Ensemble,
    Hypothesis,
    Numbers,
    Outcome,
    Proposition,
    Sides,
)
from merit_theory.quick_jit import quick_jit
from merit_theory.spectral_filter import filtered_task_matrix, gain_weight_exponent
from merit_theory.split_gain import split_gain


class Spectrum(NamedTuple):
    """Four tasks in the eigenbasis of their Hessian, split into the first and the last two.

    Attributes:
        curvatures: float64 [d].
        optima: float64 [4, d], relative to the start.
        learning_rate: float64.
        steps: float64, τ, a whole number.
    """

    curvatures: Float[Numbers, " d"]
    optima: Float[Numbers, "4 d"]
    learning_rate: Float[Numbers, ""]
    steps: Float[Numbers, ""]


def _sides(instance: Spectrum) -> Sides:
    signs = jnp.array([1.0, 1.0, -1.0, -1.0])
    matrix = filtered_task_matrix(instance.curvatures, instance.optima, instance.learning_rate, instance.steps)
    variances = (signs @ instance.optima / 4) ** 2
    cubic = 0.5 * instance.learning_rate**2 * (instance.curvatures**3 @ variances)
    return Sides(split_gain(matrix, signs, 1.0), cubic, cubic + jnp.abs(matrix).max())


def _draw(rng: np.random.Generator, n: int, d: int = 5) -> Batch:
    return {
        "exponents": rng.uniform(-3.0, 0.0, (n, d)),
        "optima": rng.standard_normal((n, 4, d)),
        "rate": rng.uniform(0.0, 2.0, n),
    }


def _build(drawn: Batch) -> Spectrum:
    return Spectrum(10.0 ** drawn["exponents"], drawn["optima"], drawn["rate"], jnp.ones(()))


def _exponents(rng: np.random.Generator) -> Outcome:
    found = quick_jit(gain_weight_exponent)(0.005, np.array([1.0, 10.0, 100.0, 1000.0])).tolist()
    expected = bool(np.allclose(found, [3.0, 2.96, 2.54, 1.07], atol=0.015))
    return Outcome(
        expected, "3 → 1: " + ", ".join(f"{exponent:.3f}" for exponent in found) + " at τ = 1, 10, 100, 1000"
    )


def _crossing(rng: np.random.Generator) -> Outcome:
    """Where the exponent of the gain falls below the 2 of gradient PCA, for small steps."""
    rate, progress = 1e-6, np.arange(1.0, 1.5, 1e-4)
    exponents = np.asarray(quick_jit(gain_weight_exponent)(rate, np.round(progress / rate)))
    crossing = float(progress[np.argmax(exponents < 2)])
    return Outcome(abs(crossing - 1.2564) < 2e-4, f"τηλ = {crossing:.4f}")


PROPOSITION = Proposition(
    id="prop-f.8",
    reference="Proposition F.8",
    statement="The gain weighs every eigendirection by λ³ and the variance of the groups' mean optima along it.",
    scope="one-step",
    verdict="holds with an added hypothesis",
    claim=Claim(
        reads="G = ½η²Σλ³Var(u·ā)",
        sides=_sides,
        relation="=",
        hypotheses=(
            Hypothesis(
                "branches make one step",
                lambda instance: instance.steps == 1,
                without=Spectrum(
                    np.array([2.0, 1.0]),
                    np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]),
                    np.array(0.25),
                    np.array(2.0),
                ),
                added=True,
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
        tolerance=1e-12,
    ),
    demonstrations=(
        Demonstration("the exponent falls as training converges (ηλ = 0.005)", _exponents),
        Demonstration("below the exponent of gradient PCA from", _crossing),
    ),
)
