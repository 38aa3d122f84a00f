"""The mass of a direction over a known spectrum: exact where it can be, bounded where it cannot."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.curvature.direction_mass import direction_mass
from tests.diagnostics.curvature.dense_operator import with_spectrum

SPECTRUM = torch.tensor([100.0, 40.0, -30.0, *np.random.default_rng(3).normal(0, 2, 97)])


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([1, 2, 5, 12, 30]), st.floats(-40, 110), st.integers(0, 999))
def test_the_bounds_hold_the_true_mass_and_the_estimate(steps: int, threshold: float, seed: int) -> None:
    operator, directions = with_spectrum(SPECTRUM, seed)
    direction = 7 * torch.tensor(np.random.default_rng(seed).standard_normal(100))
    found = direction_mass(operator, direction, steps=steps, storage=torch.float64)
    shares = (directions.T @ direction) ** 2 / (direction @ direction)
    low, high = found.mass_above_bounds(threshold)
    assert low - 1e-10 <= shares[threshold < SPECTRUM].sum() <= high + 1e-10
    assert low <= found.mass_above(threshold) + 1e-12 <= high + 2e-12
    assert found.products == operator.products == steps


def test_one_product_gives_the_curvature_of_the_direction() -> None:
    operator, _ = with_spectrum(SPECTRUM)
    direction = torch.arange(100.0, dtype=torch.float64)
    found = direction_mass(operator, direction, steps=1, storage=torch.float64)
    assert operator.products == 1
    expected = (direction @ operator.matrix @ direction).item()
    assert found.curvature * found.length**2 == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("storage", [torch.float16, torch.float32])
def test_mass_on_few_eigenvectors_is_exact_in_as_many_steps(storage: torch.dtype) -> None:
    operator, directions = with_spectrum([5.0, 3.0, -1.0] + [0.5] * 37, dtype=torch.float32)
    direction = (directions[:, :3] @ torch.tensor([1.0, -2.0, 2.0]).double()).float()
    found = direction_mass(operator, direction, steps=3, storage=storage)
    assert found.nodes.tolist() == pytest.approx([-1, 3, 5], abs=3e-3)
    assert found.weights.tolist() == pytest.approx([4 / 9, 4 / 9, 1 / 9], abs=1e-3)


def test_an_exhausted_space_is_exact_and_its_bounds_meet() -> None:
    operator, directions = with_spectrum([5.0, 3.0, -1.0] + [0.5] * 37)
    found = direction_mass(operator, directions[:, 0] + 2 * directions[:, 2], steps=10, storage=torch.float64)
    assert found.exact
    assert found.products == 2
    assert found.mass_above_bounds(0) == pytest.approx((0.2, 0.2), abs=1e-12)
    generic = direction_mass(operator, directions.sum(1), steps=3, storage=torch.float64)
    assert not generic.exact
    assert generic.mass_above_bounds(0)[0] < generic.mass_above_bounds(0)[1]


def test_mass_on_well_separated_values_is_found_in_ten_to_twenty_products() -> None:
    operator, directions = with_spectrum(SPECTRUM, dtype=torch.float32)
    direction = directions @ torch.tensor(np.random.default_rng(5).standard_normal(100))
    shares = (directions.T @ direction) ** 2 / (direction @ direction)
    found = direction_mass(operator, direction.float(), steps=12)
    assert found.mass_above(20) == pytest.approx(shares[:2].sum().item(), abs=1e-4)


@pytest.mark.parametrize(
    ("direction", "steps", "complaint"),
    [
        (torch.ones(2), 1, r"shape \[2\].*multiplies \[3\]"),
        (torch.zeros(3), 1, "norm 0.0"),
        (torch.tensor([1.0, torch.nan, 0.0]), 1, "norm nan"),
        (torch.ones(3), 0, "take one or more"),
    ],
)
def test_what_is_no_direction_is_refused(direction: torch.Tensor, steps: int, complaint: str) -> None:
    operator, _ = with_spectrum([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=complaint):
        direction_mass(operator, direction.double(), steps=steps)
