"""Flatness against closed forms of a quadratic loss and against brute force."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diagnostics import flatness
from diagnostics.flatness import Flatness, Grid, expected_tokens, measure
from diagnostics.noise import Noise, noise_seeds
from diagnostics.report.sections.flatness import section
from diagnostics.resampling import Resamples, interval_of
from diagnostics.result import Arrays, load_result, save_result
from tests.diagnostics.linear_head import (
    HEAD,
    HIDDEN,
    VOCABULARY,
    answers,
    bench_of,
    head_losses,
    network_of,
    random_head,
    stored,
    write_checkpoints,
)
from training.errors import InputError

SIGMAS = (0.5, 0.1, 0.25)


def settings(**values: Any) -> dict[str, Any]:
    return {"flatness": {"isotropic": SIGMAS, "filter_normalised": SIGMAS, "draws": 4, **values}}


def measured(
    root: Path, heads: dict[str, torch.Tensor], values: dict[str, Any], **arguments: Any
) -> tuple[Flatness, Arrays]:
    checkpoints = write_checkpoints(root, heads)
    with network_of(checkpoints, arguments.pop("precision", "float64")) as network:
        return measure(bench_of(checkpoints, network, values, **arguments))


def grid_of(result: Flatness, kind: str) -> Grid:
    return next(grid for grid in result.grids if grid.kind == kind)


def test_losses_are_those_of_heads_with_the_noise_of_each_draw(tmp_path: Path) -> None:
    checkpoints = write_checkpoints(tmp_path, {"joint": random_head(7)})
    with network_of(checkpoints) as network:
        bench = bench_of(checkpoints, network, settings())
        pairs = answers(network)
        result, arrays = measure(bench)
        root_mean_square = stored(checkpoints.start)[HEAD].double().square().mean().sqrt().item()
        assert result.root_mean_square == pytest.approx(root_mean_square, rel=1e-12)
        for kind, unit in (("isotropic", root_mean_square), ("filter-normalised", 1.0)):
            assert arrays[f"{kind}-losses"].shape == (2, 3, 4, 10)
            for model, folder in enumerate((checkpoints.merged, checkpoints.joint)):
                assert folder is not None
                head = stored(folder)[HEAD].double()
                for draw in range(4):
                    for number, sigma in enumerate(sorted(SIGMAS)):
                        noise = Noise(kind, unit * sigma, noise_seeds(bench, "noise", draw))(HEAD, head)  # type: ignore[arg-type]
                        assert noise is not None
                        expected = head_losses(pairs, head + noise)
                        np.testing.assert_allclose(arrays[f"{kind}-losses"][model, number, draw], expected, rtol=1e-9)
    assert bench.meter.tokens == expected_tokens(bench)


def test_mean_increase_is_half_the_trace_of_the_hessian_times_the_variance(tmp_path: Path) -> None:
    draws, sigma = 40, 100.0
    checkpoints = write_checkpoints(tmp_path, {"joint": random_head(7, 3.0)})
    values = settings(isotropic=(sigma,), filter_normalised=(sigma,), draws=draws)
    with network_of(checkpoints) as network:
        pairs = answers(network)
        result, _ = measure(bench_of(checkpoints, network, values))
    tokens = sum(len(hidden) for hidden, _ in pairs)
    squares = sum(hidden.square().sum().item() for hidden, _ in pairs) / tokens
    half_trace = 0.5 * VOCABULARY * squares * (sigma * result.root_mean_square) ** 2
    for curve in grid_of(result, "isotropic").curves:
        (increase,) = curve.increases
        assert increase is not None
        assert increase.value == pytest.approx(half_trace, rel=0.15)
    for curve, folder in zip(
        grid_of(result, "filter-normalised").curves, (checkpoints.merged, checkpoints.joint), strict=True
    ):
        assert folder is not None
        (increase,) = curve.increases
        assert increase is not None
        rows = stored(folder)[HEAD].double().square().sum().item()
        assert increase.value == pytest.approx(0.5 * sigma**2 * rows * squares / HIDDEN, rel=0.15)


def test_the_model_with_longer_rows_is_sharper_under_filter_normalised_noise_alone(tmp_path: Path) -> None:
    # One Hessian for all heads: isotropic noise cannot tell them apart in expectation, row norms can.
    values = settings(isotropic=(3.0,), filter_normalised=(3.0,), draws=12)
    heads = {"merged": random_head(1, 0.1), "joint": random_head(2, 1.0), "joint-equal-steps": random_head(3, 0.01)}
    result, _ = measured(tmp_path, heads, values)
    verdicts = {entry.other: entry.verdict for entry in grid_of(result, "filter-normalised").comparisons}
    assert verdicts == {"joint": "flatter", "joint-equal-steps": "sharper"}
    told = section(result)
    sentence = told.meaning[told.meaning.index("filter-normalised") :]
    assert "flatter than joint training at equal tokens" in sentence
    assert "sharper than joint training at equal steps" in sentence
    assert "12 draws of noise and 10 items" in told.uncertainty


def test_the_same_model_twice_differs_by_nothing(tmp_path: Path) -> None:
    head = random_head(5)
    result, _ = measured(tmp_path, {"merged": head, "joint": head}, settings())
    for grid in result.grids:
        (comparison,) = grid.comparisons
        for difference in (*comparison.differences, comparison.area):
            assert difference is not None
            assert (difference.value, difference.low, difference.high) == (0, 0, 0)
        assert comparison.verdict == "not separated"


def test_intervals_cover_draws_and_items_together_and_areas_are_trapezoids() -> None:
    rng = np.random.default_rng(0)
    sigmas, draws, items = [0.1, 0.3], 3, 8
    own = rng.gamma(3, size=(2, items))
    sums = own[:, None, None] + np.array(sigmas)[:, None, None] * rng.gamma(2, size=(2, 2, draws, items))
    resamples = Resamples.of(np.repeat([0, 1], 4), rng.integers(1, 5, items), 150, rng)
    weights = rng.dirichlet(np.ones(draws), size=150)
    grid = flatness._grid("isotropic", sigmas, ["merged", "joint"], sums, own, resamples, weights)

    def increase(model: int, sigma: int, counts: np.ndarray, of_draws: np.ndarray) -> float:
        total = sum(of_draws[d] * (counts @ (sums[model, sigma, d] - own[model])) for d in range(draws))
        return total / (counts @ resamples.tokens)

    def area(model: int, counts: np.ndarray, of_draws: np.ndarray) -> float:
        first, second = (increase(model, sigma, counts, of_draws) for sigma in (0, 1))
        return 0.5 * 0.1 * first + 0.5 * 0.2 * (first + second)

    everything = np.ones(items), np.full(draws, 1 / draws)
    drawn = list(zip(resamples.counts, weights, strict=True))

    def check(found: Any, statistic: Any) -> None:
        expected = interval_of(statistic(*everything), [statistic(*draw) for draw in drawn])
        assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))

    for model in (0, 1):
        for sigma in (0, 1):
            check(grid.curves[model].increases[sigma], lambda *draw, m=model, s=sigma: increase(m, s, *draw))
        check(grid.curves[model].area, lambda *draw, m=model: area(m, *draw))
    (comparison,) = grid.comparisons
    check(comparison.differences[1], lambda *draw: increase(0, 1, *draw) - increase(1, 1, *draw))
    check(comparison.area, lambda *draw: area(0, *draw) - area(1, *draw))


@pytest.mark.parametrize("draws", [2, 3, 10])
def test_resampled_draws_show_the_variance_of_their_mean(draws: int) -> None:
    values = np.random.default_rng(draws).normal(size=draws)
    weights = flatness._weights_of_draws(draws, 20_000, np.random.default_rng(0))
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (weights @ values).var() == pytest.approx(values.var(ddof=1) / draws, rel=0.03)


def test_a_finite_loss_beyond_one_that_overflowed_is_out_of_reach() -> None:
    sums = np.ones((2, 3, 2, 4))
    sums[1, 1, 0, 2] = np.inf
    resamples = Resamples.of(np.zeros(4), np.ones(4), 100, np.random.default_rng(0))
    grid = flatness._grid(
        "isotropic", [0.1, 0.2, 0.3], ["merged", "joint"], sums, np.zeros((2, 4)), resamples, np.full((100, 2), 0.5)
    )
    assert grid.reach == 0.1
    assert grid.curves[1].overflowed == (0, 1, 0)
    assert [increase is None for increase in grid.curves[0].increases] == [False, False, False]
    assert [difference is None for difference in grid.comparisons[0].differences] == [False, True, False]
    assert grid.curves[0].area is not None
    assert grid.curves[0].area.value == pytest.approx(0.05)


def test_losses_that_overflow_are_counted_and_areas_end_before_them(tmp_path: Path) -> None:
    values = settings(isotropic=(0.1, 0.5, 1e30), filter_normalised=(1e30,))
    heads = {"joint": random_head(3)}
    result, arrays = measured(tmp_path, heads, values, precision="float32")
    isotropic, filtered = result.grids
    assert isotropic.reach == 0.5
    assert filtered.reach is None
    evaluations = 4 * 10
    for curve in isotropic.curves:
        assert curve.overflowed == (0, 0, evaluations)
        assert curve.increases[2] is None
        assert curve.increases[1] is not None
        assert curve.area is not None
        first, second = (increase.value for increase in curve.increases[:2] if increase is not None)
        assert curve.area.value == pytest.approx(0.05 * first + 0.2 * (first + second))
    assert [entry.verdict for entry in filtered.comparisons] == ["overflowed"]
    assert filtered.comparisons[0].differences == (None,)
    assert not np.isfinite(arrays["isotropic-losses"][:, 2].astype(float)).any()

    told = section(result)
    assert "above σ = 0.5 losses overflowed" in told.meaning
    assert "overflowed already at σ = 1e+30" in told.meaning
    assert told.tables[0].rows[2][1] == "overflow in 40 of 40"
    assert told.tables[0].rows[2][3] == "–"
    assert len(told.tables[1].rows) == 1


def test_the_result_comes_back_from_the_disk_as_it_was(tmp_path: Path) -> None:
    checkpoints = write_checkpoints(tmp_path, {"joint": random_head(3)})
    with network_of(checkpoints, "float32") as network:
        bench = bench_of(checkpoints, network, settings(filter_normalised=(0.1, 1e30)))
        result, arrays = measure(bench)
        again, same = measure(bench)
    save_result(bench.directory, "key", result, arrays)
    assert load_result(bench.directory, Flatness, "key") == result
    assert again.model_dump(exclude={"cost"}) == result.model_dump(exclude={"cost"})
    np.testing.assert_array_equal(same["isotropic-losses"], arrays["isotropic-losses"])


def test_without_a_jointly_trained_model_the_merged_one_stands_alone(tmp_path: Path) -> None:
    result, _ = measured(tmp_path, {}, settings(isotropic=(), per_task=2))
    (grid,) = result.grids
    assert grid.kind == "filter-normalised"
    assert grid.sigmas == tuple(sorted(SIGMAS))
    assert [curve.model for curve in grid.curves] == ["merged"]
    assert grid.comparisons == ()
    assert result.items == 4
    told = section(result)
    assert "by the area" not in told.meaning
    assert told.tables[0].head == ("σ", "merged")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"isotropic": (), "filter_normalised": ()}, "are both empty; give one of them a σ"),
        ({"filter_normalised": (0.1, 0.0)}, "flatness.filter_normalised holds 0; give sizes above zero"),
        ({"isotropic": (-1.0,)}, "flatness.isotropic holds -1; give sizes above zero"),
    ],
)
def test_sizes_that_are_no_noise_are_refused(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        measured(tmp_path, {}, settings(**values))


def test_a_loss_without_noise_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    heads = {"joint": random_head(3, 1e30)}
    with pytest.raises(InputError, match=r"the loss at 1·joint is not finite"):
        measured(tmp_path, heads, settings(), precision="float32")
