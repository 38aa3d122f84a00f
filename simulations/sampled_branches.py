"""Merged and stratified SGD with random draws, many runs at once: where there is no exact law, and to check it."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from merit_theory.linear_quadratic import LinearQuadraticModel
from merit_theory.quick_jit import quick_jit
from merit_theory.sgd_run import draws_reshuffled, draws_with_replacement, sgd_displacement


def branch_draws(
    key: Key[Array, ""], groups: Int[Array, "k m"], copies: int, steps: int, reshuffled: bool
) -> Int[Array, "k steps"]:
    """Tasks that each branch sees, one per step.

    Args:
        key: random key.
        groups: int [K, m], the tasks of every branch.
        copies: examples of a task in an epoch.
        steps: τ of every branch.
        reshuffled: passes over the branch's examples in random order; otherwise independent draws.

    >>> draws = branch_draws(jax.random.key(0), jnp.array([[0, 2], [1, 3]]), copies=2, steps=4, reshuffled=True)
    >>> jnp.sort(draws, axis=1).tolist()
    [[0, 0, 2, 2], [1, 1, 3, 3]]
    """

    def one(own: Key[Array, ""], tasks: Int[Array, " m"]) -> Int[Array, " steps"]:
        if reshuffled:
            return draws_reshuffled(own, jnp.tile(tasks, copies), steps)[:, 0]
        places = draws_with_replacement(own, jnp.full(len(tasks), 1 / len(tasks)), steps)[:, 0]
        return tasks[places]

    return jax.vmap(one)(jax.random.split(key, len(groups)), groups)


def merge_of_branches(
    model: LinearQuadraticModel, start: Float[Array, " d"], draws: Int[Array, "k steps"], rate: Float[Array, ""]
) -> Float[Array, " d"]:
    """Displacement of the uniform merge of branches that see these tasks, one in a step."""
    return jax.vmap(lambda own: _descend(model, start, own[:, None], rate))(draws).mean(axis=0)


def stratified_joint(
    model: LinearQuadraticModel, start: Float[Array, " d"], draws: Int[Array, "k steps"], rate: Float[Array, ""]
) -> Float[Array, " d"]:
    """Displacement of one run whose batches hold what all the branches see in that step."""
    return _descend(model, start, draws.T, rate)


def _descend(
    model: LinearQuadraticModel, start: Float[Array, " d"], draws: Int[Array, "steps b"], rate: Float[Array, ""]
) -> Float[Array, " d"]:
    return sgd_displacement(model, start, draws, rate, jax.random.key(0))


@partial(quick_jit, static_argnames=("copies", "steps", "runs", "reshuffled"))
def sampled_merged_losses(
    model: LinearQuadraticModel,
    start: Float[Array, " d"],
    groups: Int[Array, "k m"],
    rates: Float[Array, " r"],
    key: Key[Array, ""],
    *,
    copies: int,
    steps: int,
    runs: int,
    reshuffled: bool,
) -> Float[Array, "r runs"]:
    """Mixture loss of the merge, by rate and run; all rates see the same draws.

    Args:
        model: the tasks, with one Hessian or one each.
        start: float64 [d].
        groups: int [K, m], the tasks of every branch.
        rates: float64 [r], η.
        key: random key.
        copies: examples of a task in an epoch.
        steps: τ of every branch.
        runs: independent runs.
        reshuffled: passes in random order instead of independent draws.
    """

    def one(own: Key[Array, ""], rate: Float[Array, ""]) -> Float[Array, ""]:
        draws = branch_draws(own, groups, copies, steps, reshuffled)
        return model.loss(start + merge_of_branches(model, start, draws, rate))

    over_runs = jax.vmap(one, (0, None))
    return jax.vmap(over_runs, (None, 0))(jax.random.split(key, runs), rates)


@partial(quick_jit, static_argnames=("copies", "steps", "runs", "reshuffled"))
def largest_stratified_difference(
    model: LinearQuadraticModel,
    start: Float[Array, " d"],
    groups: Int[Array, "k m"],
    rates: Float[Array, " r"],
    key: Key[Array, ""],
    *,
    copies: int,
    steps: int,
    runs: int,
    reshuffled: bool,
) -> Float[Array, " r"]:
    """Largest distance over runs between the merge and stratified joint training on the same draws, relative.

    Arguments as in `sampled_merged_losses`. Zero to rounding for a shared Hessian: there theorem B holds run by run.
    """

    def one(own: Key[Array, ""], rate: Float[Array, ""]) -> Float[Array, ""]:
        draws = branch_draws(own, groups, copies, steps, reshuffled)
        merged, joint = (run(model, start, draws, rate) for run in (merge_of_branches, stratified_joint))
        return jnp.linalg.norm(merged - joint) / jnp.linalg.norm(joint)

    over_runs = jax.vmap(one, (0, None))
    return jax.vmap(over_runs, (None, 0))(jax.random.split(key, runs), rates).max(axis=1)
