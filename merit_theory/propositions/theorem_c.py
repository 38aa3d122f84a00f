"""Theorem C: how the merge drifts from joint training when groups have Hessians of their own."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array, Float, Int

from merit_theory.ensembles import TaskQuadratics, scalar_tasks, task_quadratics
from merit_theory.hessian import DenseHessian
from merit_theory.merged_loss import leading_drift, leading_drift_of_losses
from merit_theory.propositions.proposition import Claim, Demonstration, Hypothesis, Outcome, Proposition, Sides
from merit_theory.propositions.theorem_a import BRANCHES_WEIGH_THEIR_SHARE, EQUAL_STEPS
from merit_theory.quick_jit import quick_jit


def _predicted(tasks: TaskQuadratics) -> Float[Array, " d"]:
    hessians = DenseHessian(jnp.einsum("kn,nij->kij", tasks.rows, tasks.hessians))
    gradients = tasks.rows @ tasks.model.task_gradients(tasks.start)
    steps: Any = jnp.asarray(tasks.steps)[0].astype(jnp.float64)
    return leading_drift(hessians, gradients, tasks.merge_weights, tasks.learning_rate, steps)


def _sides(tasks: TaskQuadratics) -> Sides:
    return Sides(
        tasks.merged() - tasks.joint(),
        _predicted(tasks),
        jnp.abs(tasks.branches()).max() + jnp.abs(tasks.joint()).max(),
    )


def _proof(rng: np.random.Generator) -> Outcome:
    """Two steps, two groups with 2 × 2 Hessians that do not commute, expanded."""
    rate: Any = sympy.Symbol("eta")
    hessians = [sympy.Matrix(2, 2, sympy.symbols(f"a{k} b{k} b{k} c{k}")) for k in range(2)]
    slopes = [sympy.Matrix(sympy.symbols(f"p{k} q{k}")) for k in range(2)]

    def two_steps(hessian: sympy.Matrix, slope: sympy.Matrix) -> sympy.Matrix:
        first = -rate * slope
        return first - rate * (slope + hessian * first)

    merged = sum((two_steps(h, g) for h, g in zip(hessians, slopes, strict=True)), sympy.zeros(2, 1)) / 2
    joint = two_steps((hessians[0] + hessians[1]) / 2, (slopes[0] + slopes[1]) / 2)
    covariance = (hessians[0] * slopes[0] + hessians[1] * slopes[1]) / 2 - (hessians[0] + hessians[1]) * (
        slopes[0] + slopes[1]
    ) / 4
    remainder = (merged - joint - rate**2 * covariance).applyfunc(sympy.expand)
    return Outcome(remainder == sympy.zeros(2, 1), f"remainder {remainder.tolist()}")


def _first_order_error(rng: np.random.Generator) -> Outcome:
    """At 5 and 20 steps the relative error of the prediction falls tenfold with a ten times smaller learning rate."""
    ensemble = task_quadratics(shared_hessian=False)
    drawn = {name: leaf[0] for name, leaf in ensemble.draw(rng, 1).items()}

    @quick_jit
    def relative_error(progress: Float[Array, ""], steps: Int[Array, ""]) -> Float[Array, ""]:
        tasks = ensemble.build(drawn)
        rate = progress / jnp.trace(tasks.hessians.mean(axis=0))
        run = tasks._replace(learning_rate=rate, steps=jnp.full(3, steps))
        predicted = _predicted(run)
        return jnp.linalg.norm(run.merged() - run.joint() - predicted) / jnp.linalg.norm(predicted)

    ratios = []
    for steps in (5, 20):
        errors = [float(relative_error(progress, steps)) for progress in (1e-2, 1e-3)]
        ratios.append(errors[0] / errors[1])
    return Outcome(
        all(9 < ratio < 11 for ratio in ratios), f"error ratios {ratios[0]:.2f} (τ = 5), {ratios[1]:.2f} (τ = 20)"
    )


def _as_gradient(rng: np.random.Generator) -> Outcome:
    """The drift is ¼η²τ(τ−1) times the gradient of the variance between the groups' gradients."""
    factors, slopes = rng.standard_normal((2, 3, 3)), jnp.asarray(rng.standard_normal((2, 3)))
    hessians = jnp.asarray(factors @ factors.transpose(0, 2, 1))

    def losses(x: Float[Array, " 3"]) -> Float[Array, " 2"]:
        return slopes @ x + 0.5 * jnp.einsum("i,kij,j->k", x, hessians, x)

    weights = jnp.full(2, 0.5)
    direct = quick_jit(lambda: leading_drift(DenseHessian(hessians), slopes, weights, 0.1, 5))()
    climbed = quick_jit(lambda: leading_drift_of_losses(losses, jnp.zeros(3), weights, 0.1, 5))()
    error = float(jnp.abs(direct - climbed).max() / jnp.abs(direct).max())
    return Outcome(error < 1e-12, f"relative difference {error:.0e}")


PROPOSITION = Proposition(
    id="theorem-c",
    reference="Theorem C of this project",
    statement="θ̄ − θ_joint = ½η²τ(τ−1)·Cov_k(H_k, g_k) up to third order: merging climbs the variance between group "
    "gradients; exact for quadratics at τ = 2.",
    scope="exact",
    verdict="holds",
    claim=Claim(
        reads="θ̄ − θ_joint = ½η²τ(τ−1)·Cov_k(H_k, g_k)",
        sides=_sides,
        relation="=",
        hypotheses=(
            Hypothesis(
                "branches make at most two steps",
                lambda tasks: tasks.steps[0] <= 2,
                without=scalar_tasks([1.0, 2.0], [-1.0, 0.5], [[0], [1]], learning_rate=0.5, steps=3),
            ),
            BRANCHES_WEIGH_THEIR_SHARE,
            EQUAL_STEPS,
        ),
        ensembles=(task_quadratics(shared_hessian=False),),
        tolerance=1e-11,
    ),
    demonstrations=(
        Demonstration("proof at τ = 2 for Hessians that do not commute", _proof),
        Demonstration("beyond two steps the relative error is of first order in η", _first_order_error),
        Demonstration("the covariance is a gradient", _as_gradient),
    ),
)
