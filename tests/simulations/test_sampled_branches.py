import jax
import jax.numpy as jnp
import numpy as np

from merit_theory.hessian import DiagonalHessian, Hessian
from merit_theory.linear_quadratic import LinearQuadraticModel
from simulations.sampled_branches import branch_draws, largest_stratified_difference

GROUPS = jnp.array([[0, 3], [1, 2]])


def test_a_reshuffled_epoch_shows_every_copy_once_and_independent_draws_do_not() -> None:
    counts = []
    for reshuffled in (True, False):
        draws = np.asarray(branch_draws(jax.random.key(0), GROUPS, copies=8, steps=16, reshuffled=reshuffled))
        assert all(set(row) <= set(group) for row, group in zip(draws, np.asarray(GROUPS), strict=True))
        counts.append(
            [
                np.bincount(row, minlength=4)[group].tolist()
                for row, group in zip(draws, np.asarray(GROUPS), strict=True)
            ]
        )
    assert counts[0] == [[8, 8], [8, 8]] != counts[1]


def test_merging_is_stratified_joint_training_run_by_run_only_under_a_shared_hessian() -> None:
    rng = np.random.default_rng(0)
    optima, start, rates = jnp.asarray(rng.standard_normal((4, 3))), jnp.ones(3), jnp.array([0.1, 1.0])

    def difference(hessian: Hessian) -> np.ndarray:
        model = LinearQuadraticModel(hessian, optima)
        sizes = {"copies": 4, "steps": 8, "runs": 5, "reshuffled": True}
        return np.asarray(largest_stratified_difference(model, start, GROUPS, rates, jax.random.key(1), **sizes))

    assert (difference(DiagonalHessian(jnp.array([1.0, 0.5, 0.2]))) < 1e-13).all()
    assert (difference(DiagonalHessian(jnp.asarray(rng.uniform(0.2, 1.0, (4, 3))))) > 1e-3).all()
