"""Step 5 of the argument: an effective condition number, and the larger learning rate read from it."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from merit_theory.propositions.proposition import Batch, Claim, Ensemble, Hypothesis, Numbers, Proposition, Sides
from merit_theory.spectral_filter import spectral_radius


class StableStep(NamedTuple):
    """Eigenvalues of a positive definite Hessian, descending, and a learning rate.

    Attributes:
        curvatures: float64 [d].
        learning_rate: float64.
    """

    curvatures: Float[Numbers, " d"]
    learning_rate: Float[Numbers, ""]


def _contracts(step: StableStep) -> Sides:
    return Sides(jnp.ones(()), spectral_radius(step.curvatures, step.learning_rate), 1.0)


def _draw(rng: np.random.Generator, n: int, d: int = 4) -> Batch:
    return {"logs": rng.uniform(-3.0, 3.0, (n, d)), "share": rng.standard_normal(n)}


def _build(drawn: Batch) -> StableStep:
    """A learning rate somewhere below 2/λ₁."""
    curvatures = jnp.sort(jnp.exp(drawn["logs"]))[::-1]
    return StableStep(curvatures, 2 / curvatures[0] / (1 + jnp.exp(drawn["share"])))


FLAT_STEP = StableStep(np.array([10.0, 4.0, 2.0]), np.array(1 / 3))
"""2/(λ₂ + λ₃), the best step for the condition number without the sharpest direction."""

PROPOSITION = Proposition(
    id="step-5",
    reference="section 3, step 5",
    statement="With the sharpest k directions quiet, the condition number λ_{k+1}/λ_d allows a larger learning rate.",
    scope="conceptual",
    verdict="not derivable",
    claim=Claim(
        reads="1 ≥ max|1 − ηλ| at η ≤ 2/(λ_{k+1} + λ_d)",
        sides=_contracts,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "η ≤ 2/(λ₂ + λ_d)",
                lambda step: step.learning_rate <= 2 / (step.curvatures[1] + step.curvatures[-1]) * (1 + 1e-12),
            ),
        ),
        refutations=(FLAT_STEP,),
    ),
    corrected=Claim(
        reads="1 ≥ max|1 − ηλ|",
        sides=_contracts,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "0 ≤ η ≤ 2/λ₁",
                lambda step: (step.learning_rate >= 0) & (step.learning_rate <= 2 / step.curvatures[0] * (1 + 1e-12)),
                without=FLAT_STEP,
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
        tight=StableStep(np.array([10.0, 4.0, 2.0]), np.array(0.2)),
    ),
)
