"""Hutch++ against exact traces: unbiased, covered by its interval, exact on low rank, sharper than plain sampling."""

import numpy as np
import pytest
import torch

from diagnostics.curvature.trace import trace
from tests.diagnostics.curvature.dense_operator import with_spectrum

INDEFINITE = torch.tensor([300.0, 100.0, -80.0, *np.random.default_rng(2).normal(0.3, 2, 97)])


def test_the_interval_covers_the_exact_trace_as_often_as_it_says() -> None:
    operator, _ = with_spectrum(INDEFINITE)
    exact = INDEFINITE.sum().item()
    estimates = [trace(operator, products=30, seed=seed) for seed in range(300)]
    covered = np.mean([low <= exact <= high for low, high in (estimate.interval(0.9) for estimate in estimates)])
    # Three standard deviations of a share of 0.9 among 300.
    assert covered == pytest.approx(0.9, abs=0.052)


def test_the_estimate_is_unbiased() -> None:
    operator, _ = with_spectrum(INDEFINITE)
    values = np.array([trace(operator, products=12, seed=seed).value for seed in range(300)])
    assert abs(values.mean() - INDEFINITE.sum().item()) <= 4 * values.std() / np.sqrt(300)


def test_a_low_rank_is_exact_and_costs_no_more_products_than_said() -> None:
    operator, _ = with_spectrum([5.0, -3.0, 1.0] + [0.0] * 57)
    estimate = trace(operator, products=30)
    assert estimate.value == pytest.approx(3, abs=1e-10)
    assert estimate.standard_error < 1e-10
    assert estimate.products == operator.products == 10 + 3 + 10


@pytest.mark.parametrize("products", [30, 90, 300])
def test_a_sketch_of_the_whole_space_is_exact(products: int) -> None:
    operator, _ = with_spectrum(INDEFINITE[:10])
    estimate = trace(operator, products=products)
    assert estimate.value == pytest.approx(INDEFINITE[:10].sum().item(), abs=1e-9)
    assert operator.products == estimate.products == products


def test_the_sketch_removes_the_variance_of_large_eigenvalues() -> None:
    spread = [
        np.std([trace(with_spectrum(spectrum)[0], products=30, seed=seed).value for seed in range(30)])
        for spectrum in (INDEFINITE, INDEFINITE[3:])
    ]
    assert spread[0] < 2 * spread[1]


def test_float32_products_give_the_trace_to_its_rounding() -> None:
    operator, _ = with_spectrum([1e3, 10.0, 1.0, 1e-3] + [0.0] * 96, dtype=torch.float32)
    assert trace(operator, products=60).value == pytest.approx(1011.001, rel=1e-5)


def test_too_few_products_or_bytes_are_refused() -> None:
    operator, _ = with_spectrum([1.0, 2.0])
    with pytest.raises(ValueError, match="take six or more"):
        trace(operator, products=5)
    with pytest.raises(ValueError, match=r"0 vectors of 2 .* 2 are needed"):
        trace(operator, products=6, budget_gb=0)
