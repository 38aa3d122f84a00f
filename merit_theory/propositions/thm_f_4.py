"""Theorem F.4: how far cosine PCA can be from Gram PCA."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from merit_theory.eigenspace import (
    cosine_of_gram,
    largest_sine,
    leading_eigenspace,
    relative_misfit,
    rotation_bound,
    vacuous_spread,
)
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

PAPER_SPREADS = (7.12, 3.12, 2.05)
"""Largest over smallest gradient norm, of all tasks and after trimming 5 and 10 per cent (the paper's Table 19)."""


class NearUnitGradients(NamedTuple):
    """Task gradients as rows, of lengths that differ little.

    Attributes:
        rows: float64 [n, d].
    """

    rows: Float[Numbers, "n d"]


def _sides(gradients: NearUnitGradients) -> Sides:
    gram = gradients.rows @ gradients.rows.T
    first, second = (leading_eigenspace(matrix, 1, "none") for matrix in (gram, cosine_of_gram(gram)))
    return Sides(rotation_bound(gram, 1, "none"), largest_sine(first, second), 1.0)


def _draw(rng: np.random.Generator, n: int, n_tasks: int = 5, d: int = 4) -> Batch:
    return {
        "directions": rng.standard_normal((n, n_tasks, d)),
        "common": 2 * rng.standard_normal((n, d)),
        "lengths": rng.uniform(-0.2, 0.2, (n, n_tasks)),
    }


def _build(drawn: Batch) -> NearUnitGradients:
    """Gradients with a common part, so that there is an eigengap, and lengths that differ by up to a half."""
    rows = drawn["directions"] + drawn["common"][None, :]
    lengths = jnp.exp(drawn["lengths"]) / jnp.linalg.norm(rows, axis=1)
    return NearUnitGradients(rows * lengths[:, None])


def _vacuous(rng: np.random.Generator) -> Outcome:
    bounds = []
    for spread in PAPER_SPREADS:
        misfit = float(relative_misfit(spread))
        bounds.append(2 * (2 * misfit + misfit**2))
    numbers = ", ".join(f"{bound:.2f}" for bound in bounds)
    return Outcome(
        min(bounds) > 1, f"bounds on a sine {numbers}; it says nothing from R = {float(vacuous_spread()):.4f} on"
    )


def _turned(rng: np.random.Generator) -> Outcome:
    """Two nearly orthogonal gradients of lengths 1.01 and 1 turn by 45°, where the bound has become vacuous."""
    rows = np.array([[1.01, 0.0], [1e-9, 1.0]])
    bound, sine, _ = (float(side) for side in quick_jit(_sides)(NearUnitGradients(rows)))
    return Outcome(abs(sine - np.sqrt(0.5)) < 1e-6 and bound >= sine, f"sine {sine:.4f}, bound {bound:.4f}")


PROPOSITION = Proposition(
    id="thm-f.4",
    reference="Theorem F.4",
    statement="The leading eigenspaces of cosine and Gram matrix differ by a sine of at most "
    "2(2e + e²)λ₁/(λ_r − λ_{r+1}), e = (R−1)/(R+1); at the paper's own norm spreads that is no statement.",
    scope="exact",
    verdict="holds",
    claim=Claim(
        reads="2(2e + e²)λ₁/(λ₁ − λ₂) ≥ sin Θ",
        sides=_sides,
        relation="≥",
        ensembles=(Ensemble(_draw, _build),),
        tolerance=1e-9,
    ),
    demonstrations=(
        Demonstration("at R = 7.12, 3.12, 2.05 and the best eigengap the bound exceeds one", _vacuous),
        Demonstration("two nearly orthogonal gradients of almost equal length", _turned),
    ),
)
