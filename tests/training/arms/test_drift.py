"""How far a branch's steps reached, which is what its drift is multiplied by; the pass itself is in test_theorem_a."""

import pytest

from tests.training.branch_specs import make_spec
from training.arms.drift import half_travel
from training.branches.optimisation import step_size
from training.config import BranchSettings
from training.errors import InputError


def travel(*steps: tuple[float, float], clip_norm: float | None = None, momentum: float = 0.0) -> float:
    """Of a branch with steps of these rates and norms."""
    spec = make_spec(settings=BranchSettings(optimizer="sgd", clip_norm=clip_norm, momentum=momentum))
    sizes = [step_size(rate, norm, clip_norm) for rate, norm in steps]
    return half_travel({"reach": sum(sizes), "squared_reach": sum(size**2 for size in sizes)}, spec)


def test_with_equal_steps_it_is_half_the_rate_times_the_steps_but_one() -> None:
    assert travel(*[(0.1, 3.0)] * 7) == pytest.approx(0.5 * 0.1 * 6)


def test_one_step_has_no_drift() -> None:
    assert travel((0.1, 3.0)) == pytest.approx(0, abs=1e-15)


def test_a_clipped_step_counts_as_far_as_it_went() -> None:
    sizes = [0.1 / 4, 0.1, 0.1 / 8]
    by_hand = 0.5 * (sum(sizes) - sum(size**2 for size in sizes) / sum(sizes))
    assert travel((0.1, 4.0), (0.1, 0.5), (0.1, 8.0), clip_norm=1.0) == pytest.approx(by_hand)


def test_a_gradient_of_zero_is_not_clipped() -> None:
    assert step_size(0.1, 0.0, 1.0) == 0.1


def test_momentum_carries_every_step_further() -> None:
    plain, heavy = (travel(*[(0.1, 1.0)] * 4, momentum=momentum) for momentum in (0.0, 0.75))
    assert heavy == pytest.approx(4 * plain)


def test_a_branch_of_before_is_refused_with_its_remedy() -> None:
    with pytest.raises(InputError, match=r"trained by an earlier version .*; remove branches/"):
        half_travel({"steps": 3}, make_spec())
