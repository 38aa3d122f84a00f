"""Theorem 3.1/F.1: the merging gain is the dispersion of the branches, measured by the Hessian."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import sympy

from merit_theory.ensembles import BASINS, Basin
from merit_theory.gain_from_gram import gain_from_gram
from merit_theory.merging import gain_between_pairs, gain_by_definition, gain_by_eigendirection, merging_gain
from merit_theory.propositions.proposition import Claim, Demonstration, Hypothesis, Outcome, Proposition, Sides


def _sides(basin: Basin) -> Sides:
    branches = (basin.hessian, basin.displacements, basin.weights)
    forms = jnp.stack([merging_gain(*branches), gain_between_pairs(*branches), gain_by_eigendirection(*branches).sum()])
    measured = gain_by_definition(basin.loss, basin.displacements, basin.weights)
    # All forms round at the size of the terms they sum, which a wide spectrum makes larger than the losses.
    largest = jnp.abs(basin.hessian).max() * (basin.displacements**2).sum(axis=1) + jnp.abs(basin.displacements).max()
    return Sides(jnp.full(3, measured), forms, jnp.abs(basin.weights).sum() ** 2 * largest.max())


def _identity_of_polynomials(rng: np.random.Generator) -> Outcome:
    """Both forms expanded as polynomials in the entries of H, b, δ and w, for two and three branches in the plane."""
    remainders = []
    for k in (2, 3):
        h11, h12, h22 = sympy.symbols("h11 h12 h22")
        slope = sympy.Matrix(sympy.symbols("b1 b2"))
        hessian = sympy.Matrix([[h11, h12], [h12, h22]])
        moved = [sympy.Matrix(sympy.symbols(f"x{i} y{i}")) for i in range(k)]
        free = sympy.symbols(f"w1:{k}")
        weights = [*free, 1 - sum(free)]

        def loss(x: Any, hessian: Any = hessian, slope: Any = slope) -> Any:
            return (slope.T * x + x.T * hessian * x / 2)[0]

        merged = sum((w * x for w, x in zip(weights, moved, strict=True)), sympy.zeros(2, 1))
        definition = sum(w * loss(x) for w, x in zip(weights, moved, strict=True)) - loss(merged)
        pairs = sum(
            weights[i] * weights[j] * ((moved[i] - moved[j]).T * hessian * (moved[i] - moved[j]))[0] / 2
            for i in range(k)
            for j in range(i)
        )
        remainders.append(sympy.expand(definition - pairs))
    return Outcome(remainders == [0, 0], f"remainders {remainders}")


def _three_branches(rng: np.random.Generator) -> Outcome:
    """The instance with gain 39/8, from JAX and from the K×K matrix that the pipeline uses."""
    hessian = np.array([[3.0, 1.0], [1.0, 2.0]])
    moved, weights = np.array([[1.0, 2.0], [-1.0, 1.0], [0.0, -3.0]]), np.array([1 / 2, 1 / 3, 1 / 6])
    gains = (
        float(merging_gain(hessian, jnp.asarray(moved), jnp.asarray(weights))),
        gain_from_gram(moved @ hessian @ moved.T, weights),
    )
    return Outcome(bool(np.allclose(gains, 39 / 8, rtol=1e-14, atol=0)), f"{gains[0]:.12g} and {gains[1]:.12g}")


PROPOSITION = Proposition(
    id="thm-3.1",
    reference="Theorem 3.1, appendix F.1",
    statement="In a quadratic basin the mean branch loss exceeds the merged loss by half the weighted dispersion of "
    "the branches in the Hessian's norm; the same holds in pairwise form and summed over eigendirections.",
    scope="exact",
    verdict="holds",
    claim=Claim(
        reads="Σw_k L(θ_k) − L(θ̄) = ½Σw_k‖δ_k − δ̄‖²_H",
        sides=_sides,
        relation="=",
        hypotheses=(
            Hypothesis(
                "the weights have sum one",
                lambda basin: jnp.abs(basin.weights.sum() - 1) < 1e-9,
                without=Basin(np.eye(1), np.ones(1), np.array([[1.0], [2.0]]), np.array([1.0, 1.0])),
            ),
        ),
        ensembles=(BASINS,),
        tolerance=1e-11,
    ),
    demonstrations=(
        Demonstration("the two forms are one polynomial for K = 2, 3 and d = 2", _identity_of_polynomials),
        Demonstration("H = [[3,1],[1,2]] and three branches give 39/8", _three_branches),
    ),
)
