import numpy as np
import pytest

from merit_theory.conflict import cosine_similarity
from simulations.gradient_ensembles import ENSEMBLES, Ensemble, draw_gradients


def many(ensemble: Ensemble, curvatures: np.ndarray | None = None) -> np.ndarray:
    spectrum = np.ones(64) if curvatures is None else curvatures
    return draw_gradients(ensemble, np.random.default_rng(0), 400, spectrum)


def norm_variation(gradients: np.ndarray) -> float:
    norms = np.linalg.norm(gradients, axis=1)
    return float(norms.std() / norms.mean())


def mean_cosine(gradients: np.ndarray) -> float:
    cosines = cosine_similarity(gradients)
    return float(cosines[np.triu_indices(len(cosines), 1)].mean())


def test_gradients_share_a_mean_exactly_where_the_name_says_so() -> None:
    for ensemble in ENSEMBLES:
        assert (mean_cosine(many(ensemble)) > 0.8) == ensemble.startswith("shared mean")


def test_norms_spread_where_the_name_says_so() -> None:
    assert norm_variation(many("heavy norms")) > 1 > 0.3 > norm_variation(many("independent"))
    of_norms, of_deviations = (
        norm_variation(many(ensemble))
        for ensemble in ("shared mean, spread of norms", "shared mean, spread of deviations")
    )
    assert of_norms == pytest.approx(0.42, abs=0.05)
    assert of_deviations < 0.5 * of_norms


def test_clusters_are_pairs_of_tasks_that_agree() -> None:
    cosines = cosine_similarity(many("clustered"))[np.triu_indices(400, 1)]
    assert 0.2 < (cosines > 0.8).mean() < 0.35
    assert (np.abs(cosine_similarity(many("independent"))[np.triu_indices(400, 1)]) < 0.8).all()


def test_gradients_spread_in_proportion_to_curvature() -> None:
    curvatures = np.array([4.0, 1.0, 0.25])
    np.testing.assert_allclose(many("independent", curvatures).std(axis=0) / curvatures, 1, atol=0.15)
