import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Parameter

from training.branches.optimisation import clip_gradients, learning_rate, make_optimizer, squared_norm
from training.config import BranchSettings

seeds = st.integers(0, 2**32 - 1)
schedules = st.builds(
    BranchSettings,
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    learning_rate=st.sampled_from([1e-5, 0.3]),
    warmup_fraction=st.sampled_from([0.0, 0.05, 0.5, 0.99]),
    final_fraction=st.sampled_from([0.0, 0.1, 1.0]),
)


@given(schedules, st.integers(1, 200))
def test_the_rate_climbs_to_its_peak_once_and_then_falls_towards_its_floor(
    settings: BranchSettings, steps: int
) -> None:
    rates = np.array([learning_rate(settings, step, steps) for step in range(steps)])
    warmup = math.ceil(settings.warmup_fraction * steps)
    peak, floor = settings.learning_rate, settings.final_fraction * settings.learning_rate
    np.testing.assert_allclose(rates[:warmup], peak * np.arange(1, warmup + 1) / max(warmup, 1), rtol=1e-12)
    assert (np.diff(rates[warmup:]) <= 1e-12 * peak).all()
    lowest = peak if settings.schedule == "constant" else floor
    assert rates[warmup:].min(initial=peak) >= lowest * (1 - 1e-12)
    if warmup < steps:
        assert rates[warmup] == pytest.approx(peak, rel=1e-12)
        assert learning_rate(settings, steps, steps) == pytest.approx(lowest, rel=1e-12, abs=1e-12 * peak)
    assert (rates > 0).all()


@pytest.mark.parametrize(("schedule", "middle"), [("constant", 1.0), ("linear", 0.6), ("cosine", 0.6)])
def test_decay_is_half_way_in_the_middle(schedule: str, middle: float) -> None:
    settings = BranchSettings(schedule=schedule, learning_rate=1.0, warmup_fraction=0.2, final_fraction=0.2)
    assert learning_rate(settings, 60, 100) == pytest.approx(middle)
    quarter = {"constant": 1.0, "linear": 0.8, "cosine": 0.2 + 0.8 * (0.5 + math.sqrt(0.5) / 2)}
    assert learning_rate(settings, 40, 100) == pytest.approx(quarter[schedule])


# --- clipping ---------------------------------------------------------------------------------------------------------

shapes = st.lists(st.sampled_from([(), (1,), (7,), (3, 5), (2, 3, 4)]), min_size=1, max_size=5)


@given(shapes, seeds, st.sampled_from([1e-12, 1.0, 1e12]), st.none() | st.sampled_from([0.25, 0.999, 1.0, 1.001, 9.0]))
def test_clipping_scales_all_gradients_alike_to_the_limit_and_only_from_above(
    tensor_shapes: list, seed: int, size: float, relative_limit: float | None
) -> None:
    rng = np.random.default_rng(seed)
    arrays = [size * rng.standard_normal(shape) for shape in tensor_shapes]
    norm = math.sqrt(sum((array**2).sum() for array in arrays))
    limit = None if relative_limit is None else relative_limit * norm
    gradients = [torch.tensor(array) for array in arrays]
    assert clip_gradients(gradients, limit) == pytest.approx(norm, rel=1e-12)
    factor = 1.0 if relative_limit is None or relative_limit >= 1 else relative_limit
    for gradient, array in zip(gradients, arrays, strict=True):
        np.testing.assert_allclose(gradient, factor * array, rtol=1e-12, atol=0)


@given(shapes, seeds)
def test_the_norm_of_float32_gradients_is_right_to_float32(tensor_shapes: list, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gradients = [torch.tensor(rng.standard_normal(shape), dtype=torch.float32) for shape in tensor_shapes]
    exact = math.sqrt(sum((gradient.double() ** 2).sum().item() for gradient in gradients))
    assert clip_gradients(gradients, None) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_norm_that_is_not_finite_is_returned_and_nothing_is_scaled(bad: float) -> None:
    gradients = [torch.tensor([3.0, 4.0]), torch.tensor([bad])]
    assert not math.isfinite(clip_gradients(gradients, 1.0))
    assert gradients[0].tolist() == [3.0, 4.0]


def test_zero_gradients_stay_zero() -> None:
    gradients = [torch.zeros(3)]
    assert clip_gradients(gradients, 1.0) == 0.0
    assert gradients[0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.slow
def test_the_norm_of_a_hundred_million_entries_is_right_to_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(49_152, 1_024, generator=generator) for _ in range(2)]
    exact = math.sqrt(sum(row.double().square().sum().item() for gradient in gradients for row in gradient.split(1024)))
    assert clip_gradients(gradients, 1.0) == pytest.approx(exact, rel=1e-6)
    clipped = sum(row.double().square().sum().item() for gradient in gradients for row in gradient.split(1024))
    assert math.sqrt(clipped) == pytest.approx(1.0, rel=1e-6)
    gradients = [gradient.reshape(-1) for gradient in gradients]
    naive = math.sqrt(sum(torch.linalg.vector_norm(gradient).item() ** 2 for gradient in gradients))
    assert abs(naive - 1.0) > 1e-4, "one reduction has become accurate; the rows can go"


# --- optimisers -------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(seeds, st.sampled_from([0.0, 0.1]), st.sampled_from([0.0, 0.9]))
def test_sgd_follows_its_equations(seed: int, decay: float, momentum: float) -> None:
    rng = np.random.default_rng(seed)
    weights, velocity = rng.standard_normal(4), np.zeros(4)
    parameter = Parameter(torch.tensor(weights))
    chosen = BranchSettings(optimizer="sgd", learning_rate=0.1, momentum=momentum, weight_decay=decay)
    optimizer = make_optimizer(chosen, [parameter])
    for _ in range(3):
        gradient = rng.standard_normal(4)
        velocity = momentum * velocity + gradient + decay * weights
        weights = weights - 0.1 * velocity
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(parameter.detach(), weights, rtol=1e-12, atol=1e-12)


@settings(max_examples=30)
@given(seeds, st.sampled_from([0.0, 0.1]))
def test_adamw_follows_its_equations_with_decay_apart_from_the_moments(seed: int, decay: float) -> None:
    rng = np.random.default_rng(seed)
    weights, first, second = rng.standard_normal(4), np.zeros(4), np.zeros(4)
    parameter = Parameter(torch.tensor(weights))
    chosen = BranchSettings(learning_rate=0.1, beta1=0.8, beta2=0.95, epsilon=1e-3, weight_decay=decay)
    optimizer = make_optimizer(chosen, [parameter])
    for step in range(1, 4):
        gradient = rng.standard_normal(4)
        first = 0.8 * first + 0.2 * gradient
        second = 0.95 * second + 0.05 * gradient**2
        update = first / (1 - 0.8**step) / (np.sqrt(second / (1 - 0.95**step)) + 1e-3)
        weights = weights * (1 - 0.1 * decay) - 0.1 * update
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(parameter.detach(), weights, rtol=1e-10, atol=1e-12)


@given(shapes, seeds)
def test_squared_norms_add_over_tensors(tensor_shapes: list, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape) for shape in tensor_shapes]
    joined = squared_norm(torch.tensor(np.concatenate([array.ravel() for array in arrays])))
    torch.testing.assert_close(sum(squared_norm(torch.tensor(array)) for array in arrays), joined, rtol=1e-12, atol=0)
