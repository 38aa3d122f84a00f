"""Updates by sign: the split acts at first order, as far as noise lets it."""

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
from merit_theory.sign_descent import joint_update, length_ratio, merged_update


class SignGroups(NamedTuple):
    """Mean gradients of groups, merge weights, and the noise of every coordinate.

    Attributes:
        gradients: float64 [k, d].
        weights: float64 [k].
        noise: float64.
    """

    gradients: Float[Numbers, "k d"]
    weights: Float[Numbers, " k"]
    noise: Float[Numbers, ""]


def _equal(groups: SignGroups) -> Sides:
    updates = merged_update(*groups), joint_update(*groups)
    return Sides(*updates, 1.0)


def _shorter(groups: SignGroups) -> Sides:
    merged, joint = merged_update(*groups), joint_update(*groups)
    # In squares, because a norm has no slope at zero.
    return Sides((joint**2).sum(), (merged**2).sum(), 1.0)


def _draw(rng: np.random.Generator, n: int) -> Batch:
    return {"gradients": rng.standard_normal((n, 2, 6)), "log": rng.uniform(-2.0, 2.0, n)}


def _build(drawn: Batch) -> SignGroups:
    return SignGroups(drawn["gradients"], jnp.full(2, 0.5), jnp.exp(drawn["log"]))


def _with_noise(rng: np.random.Generator) -> Outcome:
    """Length of merged over joint update for two groups in conflict, by signal-to-noise ratio."""
    common, conflict = rng.standard_normal((2, 2000))
    gradients = np.stack([common + 2 * conflict, common - 2 * conflict])
    ratio = quick_jit(length_ratio)
    ratios = [float(ratio(gradients, np.full(2, 0.5), 1 / snr)) for snr in (100.0, 1.0, 0.3, 0.1, 0.01)]
    numbers = ", ".join(f"{shown:.3f}" for shown in ratios)
    holds = all(np.diff(ratios) > 0) and ratios[0] < 0.7 and ratios[-1] > 0.999
    return Outcome(bool(holds), f"{numbers} at SNR 100, 1, 0.3, 0.1, 0.01")


CONFLICT = SignGroups(np.array([[3.0, 1.0], [-1.0, 1.0]]), np.array([0.5, 0.5]), np.array(0.0))

PROPOSITION = Proposition(
    id="sign-descent",
    reference="section 3, read for Adam",
    statement="The split leaves the merged model's first-order displacement as joint training's, for sign-like updates "
    "as for gradient steps.",
    scope="first-order",
    verdict="false as stated",
    claim=Claim(reads="Σw_k E sign(g_k) = E sign(Σw_k g_k)", sides=_equal, relation="=", refutations=(CONFLICT,)),
    corrected=Claim(
        reads="‖E sign(ḡ)‖² ≥ ‖½Σ E sign(g_k)‖²",
        sides=_shorter,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "there are two groups of equal weight",
                lambda groups: jnp.asarray(groups.weights.shape == (2,)) & (jnp.abs(groups.weights - 0.5).max() < 1e-9),
                without=SignGroups(np.array([[1.0], [1.0], [-1.9]]), np.full(3, 1 / 3), np.array(1.0)),
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
        tight=SignGroups(np.array([[1.0], [1.0]]), np.array([0.5, 0.5]), np.array(1.0)),
    ),
    demonstrations=(Demonstration("noise takes the cancellation away: merged over joint length", _with_noise),),
)
