"""The calibration curve against its definition and closed forms; whole gradients against autograd in one piece."""

from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diagnostics import full_gradients
from diagnostics.calibration import Calibration, agreement, measure
from diagnostics.calibration_curve import expected_cosine, size_curve
from diagnostics.cost import Meter
from diagnostics.full_gradients import full_gram_matrices
from diagnostics.report.sections.calibration import section
from diagnostics.result import load_result, save_result
from diagnostics.settings import DiagnosticSettings
from merit_theory.conflict import estimate_conflicts
from tests.diagnostics.linear_head import bench_of, examples, network_of, write_checkpoints
from training.keyed_file import save_keyed
from training.model.batching import collate
from training.model.loss import answer_losses
from training.run_directory import ReportDirectory, RunDirectory
from training.seeds import child_generator

DIMENSION = 40


def sampled(rng: np.random.Generator, batches: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Micro-batch gradient sums around one direction, and their answer tokens."""
    tokens = rng.integers(5, 15, batches).astype(np.float64)
    means = np.eye(DIMENSION)[0] + noise * rng.normal(size=(batches, DIMENSION)) / np.sqrt(tokens)[:, None]
    return means * tokens[:, None], tokens


def every_order(batches: int) -> np.ndarray:
    return np.array(list(permutations(range(batches))))


def test_cosines_with_the_rest_are_those_of_the_two_mean_gradients() -> None:
    sums, tokens = sampled(np.random.default_rng(0), 4, 0.5)
    curve = size_curve(sums @ sums.T, tokens, every_order(4))
    for size in (1, 2, 3):
        cosines = []
        for order in every_order(4):
            one, other = (sums[part].sum(0) / tokens[part].sum() for part in (order[:size], order[size:]))
            cosines.append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
        assert curve.with_rest[size - 1] == pytest.approx(np.mean(cosines))


def test_reliability_is_that_of_the_conflicts() -> None:
    rng = np.random.default_rng(1)
    sums, tokens = zip(*(sampled(rng, 6, noise) for noise in (0.1, 0.6, 1.0)), strict=True)
    expected = estimate_conflicts(sums, tokens).reliability
    found = [size_curve(s @ s.T, n, every_order(6)[:5]).reliability for s, n in zip(sums, tokens, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_without_the_rests_noise_the_cosine_is_that_with_the_true_gradient() -> None:
    rng = np.random.default_rng(2)
    orders = np.array([rng.permutation(8) for _ in range(20)])
    curves, true = [], []
    for _ in range(200):
        sums, tokens = sampled(rng, 8, 1.0)
        curves.append(size_curve(sums @ sums.T, tokens, orders))
        parts = [sums[:size].sum(0) for size in range(1, 8)]
        true.append([part[0] / np.linalg.norm(part) for part in parts])
    expected = np.mean(true, axis=0)
    np.testing.assert_allclose(np.mean([curve.with_signal for curve in curves], axis=0), expected, atol=0.03)
    # The uncorrected cosine is far below, most where the rest is small.
    assert (np.mean([curve.with_rest for curve in curves], axis=0) < expected - 0.05).all()


def test_a_gradient_of_noise_alone_has_no_corrected_curve() -> None:
    sums = np.array([[1.0, 0.0], [-1.0, 0.1]])
    curve = size_curve(sums @ sums.T, np.ones(2), every_order(2))
    assert curve.reliability == 0
    assert np.isnan(curve.with_signal).all()
    assert curve.with_rest[0] < 0


def test_the_expected_cosine_is_the_root_of_the_reliability_at_the_same_size_and_grows_to_one() -> None:
    reliability, rows = np.array([0.3, 0.9]), np.array([20.0, 40.0])
    np.testing.assert_allclose(expected_cosine(reliability, rows, 20.0)[0], np.sqrt(0.3))
    assert (expected_cosine(reliability, rows, 1e9) > 0.99999).all()


def test_agreement_of_a_shifted_copy_is_perfect_in_correlation_and_off_by_the_shift() -> None:
    full = np.array([0.1, -0.3, 0.5, 0.2])
    found = agreement(full + 0.05, full)
    assert (found.pearson, found.spearman) == (pytest.approx(1), pytest.approx(1))
    assert (found.mean_absolute, found.root_mean_square) == (pytest.approx(0.05), pytest.approx(0.05))
    assert agreement(full, np.zeros(4)).pearson is None


def test_inner_products_of_whole_gradients_do_not_depend_on_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_gradients, "CHUNK", 7)
    checkpoints = write_checkpoints(tmp_path, {})
    items = examples()
    tasks = [items[:3], items[3:6], items[6:]]
    with network_of(checkpoints) as network:
        bench = bench_of(checkpoints, network, {}, trainable=("*",))
        bench.encoding = SimpleNamespace(batch_tokens=24)
        network.move_to({"start": 1.0})
        found = [full_gram_matrices(bench, tasks, ("a", "b", "c"), 5, budget) for budget in (6.0, 1e-9)]
        passes = [len(full_gradients.gradient_passes(bench, 3, budget)) for budget in (6.0, 1e-9)]
        assert passes == [1, len(network.parameters)]
        rows = []
        with network.differentiated(["*"]) as parameters:
            for task in tasks:
                losses, _ = answer_losses(network.model, collate(task, range(len(task))), bench.objective)
                total = losses.sum() / sum(item.answer_tokens for item in task)
                rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(total, list(parameters.values()))]))
    whole = torch.stack(rows).numpy()
    for full, strided in found:
        # Llama's norms compute in float32 even in a float64 model, and batches differ.
        np.testing.assert_allclose(full, whole @ whole.T, rtol=1e-6)
        np.testing.assert_allclose(strided, whole[:, ::5] @ whole[:, ::5].T, rtol=1e-6)


@pytest.fixture
def measured(tmp_path: Path) -> tuple[Calibration, dict[str, Any]]:
    run = RunDirectory(tmp_path)
    rng = np.random.default_rng(3)
    tasks = [SimpleNamespace(name=f"task-{number}", counts={"calibration": 24}) for number in range(4)]
    for task in tasks:
        sums, tokens = sampled(rng, 6, 0.5)
        save_keyed(run.sketches(task.name), "key", sums=np.float32(sums), counts=tokens.astype(np.int64))
    noise = np.concatenate([np.eye(DIMENSION)[:3], -np.eye(DIMENSION)[:3]])
    save_keyed(run.sketches("task-3"), "key", sums=np.float32(noise + 0.01), counts=np.ones(6, np.int64))
    bench: Any = SimpleNamespace(
        run=run,
        tasks=tasks,
        settings=DiagnosticSettings.model_validate({"calibration": {"tasks": 0}, "bootstrap": 100}),
        generator=lambda purpose, index=0: child_generator(0, purpose, index),
        meter=Meter(),
        encoding=None,
    )
    return measure(bench)


def test_the_result_has_a_point_per_size_and_names_tasks_without_signal(
    measured: tuple[Calibration, dict[str, Any]], tmp_path: Path
) -> None:
    result, arrays = measured
    assert [point.examples for point in result.curve] == [4, 8, 12, 16, 20]
    assert result.without_signal == ("task-3",)
    for point, rest, along in zip(result.curve, arrays["with_rest"].T, arrays["with_signal"].T, strict=True):
        assert point.with_rest.value == pytest.approx(rest.mean())
        assert point.with_rest.low <= point.with_rest.value <= point.with_rest.high
        assert point.with_signal is not None
        assert point.with_signal.value == pytest.approx(along[:3].mean())
    cosines = [point.with_signal.value for point in result.expected]
    assert cosines == sorted(cosines)
    directory = ReportDirectory(tmp_path / "report")
    save_result(directory, "key", result, arrays)
    assert load_result(directory, Calibration, "key") == result
    told = section(result)
    assert "Without measurable signal" in told.uncertainty
    assert [picture.name for picture in told.pictures] == ["calibration"]
