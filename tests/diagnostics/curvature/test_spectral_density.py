"""Stochastic Lanczos quadrature against exact power traces and exact densities."""

import math

import numpy as np
import pytest
import torch

from diagnostics.curvature.spectral_density import spectral_density
from tests.diagnostics.curvature.dense_operator import with_spectrum

SPECTRUM = torch.tensor([80.0, -40.0, *np.random.default_rng(1).normal(0, 3, 198)])


@pytest.mark.parametrize("power", [0, 1, 2, 3, 5])
def test_moments_are_the_power_traces_within_their_error_bars(power: int) -> None:
    exact = (SPECTRUM**power).mean()
    scores = []
    for seed in range(20):
        operator, _ = with_spectrum(SPECTRUM, seed)
        mean, error = spectral_density(operator, probes=20, steps=4, storage=torch.float64, seed=seed).moment(power)
        if power == 0:
            assert mean == pytest.approx(1, rel=1e-12)
        else:
            scores.append(((mean - exact) / error).item())
    # Of twenty scores of a Student variable with 19 degrees of freedom, all lie within 4.5 but once in 200 tables.
    assert all(abs(score) < 4.5 for score in scores)
    assert power == 0 or np.mean(np.square(scores)) > 0.2


def test_a_moment_is_the_probes_own_up_to_twice_the_steps_and_not_beyond() -> None:
    operator, _ = with_spectrum(SPECTRUM)
    few = spectral_density(operator, probes=2, steps=4, storage=torch.float64)
    probe = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probe /= probe.norm()
    for power in (6, 7, 8):
        exact = (probe @ torch.linalg.matrix_power(operator.matrix, power) @ probe).item()
        measured = (few.weights[0] * few.nodes[0] ** power).sum().item()
        assert (abs(measured - exact) < 1e-10 * abs(exact)) == (power < 8)


def test_the_density_is_the_exact_one_convolved_within_its_error() -> None:
    operator, _ = with_spectrum(SPECTRUM, dtype=torch.float32)
    density = spectral_density(operator, probes=30, steps=40)
    grid, width = torch.linspace(-50, 90, 57, dtype=torch.float64), 2.0
    mean, error = density.density(grid, width)
    bells = torch.exp(-(((grid[:, None] - SPECTRUM) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi))
    exact = bells.mean(1)
    assert ((mean - exact).abs() <= 4.5 * error + 1e-6).all()
    assert mean[grid == 80] > 3 * error[grid == 80]
    assert (mean[(grid > 30) & (grid < 65)] < 1e-6).all()


def test_the_density_integrates_to_one() -> None:
    operator, _ = with_spectrum(SPECTRUM)
    grid = torch.linspace(-60, 100, 4001, dtype=torch.float64)
    mean, _ = spectral_density(operator, probes=2, steps=10).density(grid, 1.0)
    assert torch.trapezoid(mean, grid).item() == pytest.approx(1, abs=1e-6)


def test_a_spectrum_of_two_values_needs_two_nodes_and_survives_more() -> None:
    operator, _ = with_spectrum([2.0] * 5 + [-1.0] * 5)
    density = spectral_density(operator, probes=3, steps=6, storage=torch.float64)
    heavy = density.nodes[density.weights > 1e-10]
    assert torch.minimum((heavy - 2).abs(), (heavy + 1).abs()).max() < 1e-10
    assert density.products == operator.products == 18


def test_too_few_probes_steps_or_bytes_are_refused() -> None:
    operator, _ = with_spectrum([1.0, 2.0])
    with pytest.raises(ValueError, match="1 probes give no error bar"):
        spectral_density(operator, probes=1, steps=1)
    with pytest.raises(ValueError, match="take 1 to 2"):
        spectral_density(operator, steps=3)
    with pytest.raises(ValueError, match=r"0 vectors of 2 .* 2 are needed"):
        spectral_density(operator, steps=2, budget_gb=0)
    with pytest.raises(ValueError, match="width 0"):
        spectral_density(operator, steps=2).density(torch.zeros(1), 0.0)
