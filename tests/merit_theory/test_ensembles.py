"""The random instances satisfy what their builders promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from merit_theory import ensembles
from merit_theory.propositions.proposition import Ensemble


def built(ensemble: Ensemble, n: int = 64) -> object:
    return jax.vmap(ensemble.build)(ensemble.draw(np.random.default_rng(0), n))


def test_basins_have_any_curvature_and_signed_weights_and_convex_ones_have_not() -> None:
    signed, convex = built(ensembles.BASINS), built(ensembles.CONVEX_BASINS)
    for basins in (signed, convex):
        np.testing.assert_allclose(basins.weights.sum(axis=1), 1.0, atol=1e-12)
        np.testing.assert_allclose(basins.hessian, jnp.swapaxes(basins.hessian, 1, 2), atol=1e-9)
    spectra = jnp.linalg.eigvalsh(signed.hessian)
    assert spectra.min() < -1
    assert signed.weights.min() < 0
    spectra = jnp.linalg.eigvalsh(convex.hessian)
    assert (spectra[:, 0] >= -1e-10 * spectra[:, -1]).all()
    assert (jnp.abs(spectra[:, 0]) < 1e-10 * spectra[:, -1]).any()
    assert convex.weights.min() >= 0


def test_the_spectrum_is_the_one_that_was_drawn() -> None:
    drawn = ensembles.draw_symmetric(np.random.default_rng(1), 8, 5, 2.0, (-1, 0, 1))
    expected = np.sort(drawn["signs"] * 10.0 ** drawn["exponents"], axis=1)
    found = np.linalg.eigvalsh(np.asarray(jax.vmap(ensembles.symmetric)(drawn)))
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("shared", [True, False])
def test_groups_cover_all_tasks_in_proportion_to_their_shares(shared: bool) -> None:
    tasks = built(ensembles.task_quadratics(shared_hessian=shared))
    np.testing.assert_allclose(jnp.einsum("bk,bkn->bn", tasks.merge_weights, tasks.rows), 1 / 6, atol=1e-12)
    np.testing.assert_allclose(tasks.rows.sum(axis=2), 1.0, atol=1e-12)
    spread = jnp.abs(tasks.hessians - tasks.hessians[:, :1]).max()
    assert (spread == 0) == shared


def test_no_random_group_is_empty_and_sizes_differ() -> None:
    labels = ensembles.random_labels(np.random.default_rng(2), 500, 6, 3)
    counts = np.stack([(labels == group).sum(axis=1) for group in range(3)], axis=1)
    assert counts.min() == 1
    assert counts.max() == 4
    assert len(np.unique(labels[:, 0])) == 3


def test_a_branch_on_all_tasks_is_the_joint_run() -> None:
    tasks = ensembles.scalar_tasks([1.0, 2.0, 3.0], [1.0, -1.0, 2.0], [[0, 1, 2]], learning_rate=0.1, steps=5)
    np.testing.assert_allclose(tasks.merged(), tasks.joint(), rtol=1e-12)
    place = 0.0
    for _ in range(5):
        place -= 0.1 * float(np.mean(np.array([1.0, 2.0, 3.0]) * (place - np.array([1.0, -1.0, 2.0]))))
    np.testing.assert_allclose(tasks.joint(), [place], rtol=1e-12)


def test_balanced_signs_are_all_splits_once() -> None:
    signs = ensembles.balanced_signs(8)
    assert signs.shape == (35, 8)
    assert not signs.sum(axis=1).any()
    assert len(np.unique(signs, axis=0)) == 35
