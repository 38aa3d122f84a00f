"""The gain from Hessian products is the gain of the losses exactly where the loss is quadratic."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from diagnostics import gain_check
from diagnostics.checkpoints import Checkpoints
from diagnostics.gain_check import STATIONS, GainCheck, taylor_terms
from tests.diagnostics.linear_head import (
    HEAD,
    answers,
    bench_of,
    head_losses,
    network_of,
    probe,
    random_head,
    stored,
    write_checkpoints,
    write_model,
)


def check(checkpoints: Checkpoints, objective: str = "squared-error") -> GainCheck:
    with network_of(checkpoints) as network:
        result, _ = gain_check.measure(bench_of(checkpoints, network, {}, objective))
    return result


def losses_of(checkpoints: Checkpoints) -> dict[str, float]:
    """Token-weighted losses by the closed form of a linear head."""
    with network_of(checkpoints) as network:
        network.move_to({"start": 1.0})
        pairs = answers(network)
    tokens = probe().tokens.sum()
    return {
        name: float(head_losses(pairs, stored(folder)[HEAD]).sum() / tokens)
        for name, folder in checkpoints.folders.items()
    }


def three_branches(root: Path, weights: tuple[float, float, float], merged_shift: float = 0.0) -> Checkpoints:
    two = write_checkpoints(root, {})
    own = stored(two.start)[HEAD]
    heads = [own.double() + random_head(seed, 0.2).double() for seed in (7, 8, 9)]
    average = sum(weight * head for weight, head in zip(weights, heads, strict=True)) + merged_shift
    branches = tuple(
        write_model(two.start, root / f"of-three-{n}", {HEAD: head.float()}) for n, head in enumerate(heads)
    )
    merged = write_model(two.start, root / "of-three", {HEAD: average.float()})
    return Checkpoints(two.start, branches, weights, merged)


@pytest.mark.parametrize("count", [2, 3])
def test_in_a_quadratic_loss_the_predicted_gain_is_the_measured_one(tmp_path: Path, count: int) -> None:
    checkpoints = write_checkpoints(tmp_path, {}) if count == 2 else three_branches(tmp_path, (0.5, 0.3, 0.2))
    result = check(checkpoints)
    exact = losses_of(checkpoints)
    average = sum(w * exact[name] for w, name in zip(checkpoints.weights, checkpoints.branch_names, strict=True))
    assert result.is_average
    assert result.measured.value == pytest.approx(average - exact["merged"], rel=1e-5)
    assert result.measured.value > 1e-3
    assert result.predicted.value == pytest.approx(result.measured.value, rel=1e-5)
    assert result.from_dips.value == pytest.approx(result.measured.value, rel=1e-5)
    assert result.second_difference.value == pytest.approx(result.quadratic.value, rel=1e-5)
    assert result.cubic.value == pytest.approx(0, abs=1e-6)
    assert result.linear.value == 0
    assert len(result.dips) == count * (count - 1) // 2
    for dip in result.dips:
        assert dip.predicted == pytest.approx(dip.measured.value, rel=1e-5)


def test_every_draw_of_items_has_the_same_prediction_and_gain(tmp_path: Path) -> None:
    result = check(three_branches(tmp_path, (0.2, 0.5, 0.3)))
    assert result.difference.high - result.difference.low < 1e-5 * (result.measured.high - result.measured.low)


def test_a_model_that_is_no_average_is_told_and_predicted_with_its_slope(tmp_path: Path) -> None:
    checkpoints = three_branches(tmp_path, (0.5, 0.3, 0.2), merged_shift=0.05)
    result = check(checkpoints)
    assert not result.is_average
    assert abs(result.linear.value) > 1e-3
    assert result.predicted.value == pytest.approx(result.measured.value, rel=1e-5)
    assert result.predicted.value == pytest.approx(result.linear.value + result.quadratic.value)


def test_wrong_weights_are_told(tmp_path: Path) -> None:
    checkpoints = three_branches(tmp_path, (0.5, 0.3, 0.2))
    assert not check(dataclasses.replace(checkpoints, weights=(0.2, 0.3, 0.5))).is_average


def test_what_the_quadratic_picture_leaves_out_is_measured(tmp_path: Path) -> None:
    result = check(write_checkpoints(tmp_path, {}), "cross-entropy")
    assert abs(result.difference.value) > 1e-6
    assert result.measured.value == pytest.approx(
        result.predicted.value + result.cubic.value + result.rest.value, abs=1e-12
    )
    # The products and the losses near the merged point measure one number by two ways.
    assert result.second_difference.value == pytest.approx(result.quadratic.value, rel=1e-3)
    assert abs(result.rest.value) < abs(result.quadratic.value)


def test_the_parabola_of_each_line_touches_its_losses(tmp_path: Path) -> None:
    result = check(write_checkpoints(tmp_path, {}))
    for number, line in enumerate(result.lines):
        here = line.losses[STATIONS.index(0.0)]
        parabola = [here + line.slope * t + line.curvature * t**2 / 2 for t in result.stations]
        assert line.losses == pytest.approx(parabola, abs=1e-6)
        assert line.curvature == result.gram[number][number]


def test_derivatives_come_from_the_nearest_losses_alone() -> None:
    rng = np.random.default_rng(0)
    coefficients = rng.normal(size=5)
    losses = np.polynomial.polynomial.polyval(np.array(STATIONS), coefficients)
    bent = losses.copy()
    bent[gain_check.NEAR :] += 1.0
    assert taylor_terms(bent) == pytest.approx(coefficients[1:4])


def test_a_result_survives_the_disk(tmp_path: Path) -> None:
    result = check(write_checkpoints(tmp_path, {}))
    assert GainCheck.model_validate(result.model_dump(mode="json")) == result


def test_the_network_carries_no_gradients_afterwards(tmp_path: Path) -> None:
    checkpoints = write_checkpoints(tmp_path, {})
    with network_of(checkpoints) as network:
        gain_check.measure(bench_of(checkpoints, network, {}))
        assert not any(parameter.requires_grad for parameter in network.parameters.values())
        assert all(parameter.grad is None for parameter in network.parameters.values())
        assert not torch.is_inference_mode_enabled()
