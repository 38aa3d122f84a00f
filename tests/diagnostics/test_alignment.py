"""The whole measurement on a transformer so small that its Hessian and all gradients are computed by brute force."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import linalg
from torch.func import functional_call

from diagnostics import alignment, task_gradients
from diagnostics.alignment_nulls import permuted_coefficients, random_coefficients, random_vector_cosine
from diagnostics.alignment_result import Alignment
from diagnostics.bench import Bench
from diagnostics.checkpoints import Checkpoints
from diagnostics.cost import Meter
from diagnostics.curvature.loss_terms import twice_differentiable
from diagnostics.probe import Encoding
from diagnostics.report.sections.alignment import section
from diagnostics.result import Arrays, load_result, save_result
from diagnostics.spectrum import MeteredOperator
from diagnostics.task_gradients import HalfGradients, TaskHalves
from tests.diagnostics.linear_head import VOCABULARY, bench_of, network_of, stored, write_model, write_start
from training.errors import InputError
from training.model.batching import Example, collate
from training.model.loss import answer_losses
from training.run_directory import ReportDirectory

MATRIX, NORM = "model.layers.0.mlp.down_proj.weight", "model.norm.weight"
PARAMETERS = (MATRIX, NORM)
TASKS = 5
SETTINGS = {
    "parameters": PARAMETERS,
    "per_task": 3,
    "gradient_examples": 8,
    "eigenvectors": 4,
    "tolerance": 1e-6,
    "graph_gb": 0.1,
    "null_draws": 300,
}


def calibration(number: int, count: int = 12) -> list[Example]:
    rng = np.random.default_rng(number)
    rows = []
    for length in rng.integers(5, 10, count):
        ids = (*rng.integers(3, VOCABULARY, 3).tolist(), *rng.integers(3 + number, VOCABULARY, length - 3).tolist())
        rows.append(Example(ids, tuple(index >= 3 for index in range(length)), 3))
    return rows


def task(number: int, count: int = 12) -> Any:
    return SimpleNamespace(name=f"task-{number}", rows=lambda split: calibration(number, count))


@pytest.fixture(autouse=True)
def _rows_are_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_gradients, "encode", lambda rows, *_: list(rows))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    root = tmp_path_factory.mktemp("models")
    start = write_start(root / "plain")
    generator = torch.Generator().manual_seed(0)
    sharper = {name: 8 * tensor for name, tensor in stored(start).items() if "norm" not in name}
    start = write_model(start, root / "start", sharper)
    moved = [
        {name: stored(start)[name] + torch.randn(stored(start)[name].shape, generator=generator) for name in PARAMETERS}
        for _ in range(2)
    ]
    branches = tuple(write_model(start, root / f"branch{number}", own) for number, own in enumerate(moved))
    still = write_model(start, root / "still", {})
    return Checkpoints(start, (*branches, still), (0.25, 0.25, 0.5), start)


@pytest.fixture
def bench(checkpoints: Checkpoints, tmp_path: Path) -> Iterator[Bench]:
    with network_of(checkpoints) as network:
        yield made(checkpoints, network, tmp_path, {})


@pytest.fixture(scope="module")
def measured(checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> tuple[Alignment, Arrays]:
    with pytest.MonkeyPatch.context() as patch, network_of(checkpoints) as network:
        patch.setattr(task_gradients, "encode", lambda rows, *_: list(rows))
        return alignment.measure(made(checkpoints, network, tmp_path_factory.mktemp("report"), {}))


def made(checkpoints: Checkpoints, network: Any, folder: Path, changed: dict[str, Any]) -> Bench:
    settings = {"alignment": {**SETTINGS, **changed}}
    bench = bench_of(checkpoints, network, settings, "cross-entropy", trainable=("*",))
    bench.tasks = tuple(task(number) for number in range(TASKS))
    bench.encoding = Encoding(None, 32, 40)
    bench.directory = ReportDirectory(folder)
    return bench


class Dense:
    """Everything again, from whole vectors and the whole Hessian."""

    def __init__(self, bench: Bench, result: Alignment, names: tuple[str, ...]) -> None:
        self.model = bench.network.model
        bench.network.move_to({"start": 1.0})
        self.names = names
        self.start = {name: bench.network.parameters[name].detach().clone() for name in names}
        halves = TaskHalves.of(bench)
        chosen = [halves.tasks.index(name) for name in result.hessian_tasks]
        examples = [example for number in chosen for example in halves.curvature[number]]
        flat = self.flat(self.start)
        self.hessian = torch.autograd.functional.hessian(lambda at: self.loss(at, examples), flat).numpy()
        gradients = [torch.autograd.functional.jacobian(lambda at, e=e: self.loss(at, e), flat) for e in halves.halves]
        self.gradients = torch.stack(gradients).numpy()
        values, vectors = np.linalg.eigh(self.hessian)
        order = np.argsort(-np.abs(values))[: SETTINGS["eigenvectors"]]
        self.values, self.basis = values[order], vectors[:, order].T
        tokens = np.array([sum(example.answer_tokens for example in half) for half in halves.halves])
        pairs = (self.gradients * tokens[:, None]).reshape(TASKS, 2, -1).sum(axis=1)
        self.whole = pairs / tokens.reshape(TASKS, 2).sum(axis=1)[:, None]

    def flat(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([tensors[name].reshape(-1) for name in self.names])

    def loss(self, at: torch.Tensor, examples: Any) -> torch.Tensor:
        sizes = [self.start[name].numel() for name in self.names]
        pieces = {n: p.view_as(self.start[n]) for n, p in zip(self.names, at.split(sizes), strict=True)}
        model = self.model

        class Substituted(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = model

            def forward(self) -> torch.Tensor:
                batch = collate(examples, range(len(examples)))
                return answer_losses(self.inner, batch, "cross-entropy")[0].mean()

        with twice_differentiable():
            return functional_call(Substituted(), {f"inner.{name}": piece for name, piece in pieces.items()}, ())

    def directions(self, gradients: np.ndarray, kind: str) -> np.ndarray:
        """Unit vectors [3, d]."""
        columns = gradients
        if kind == "double-centred":
            columns = unit(gradients)
            columns = columns - columns.mean(axis=0)
        return np.linalg.svd(columns, full_matrices=False)[2][:3]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_every_number_is_that_of_the_dense_hessian_and_of_whole_gradients(
    bench: Bench, measured: tuple[Alignment, Arrays]
) -> None:
    result, arrays = measured
    assert [found.name for found in result.sets] == ["chosen", "without-norms"]
    assert result.shared_examples == 0
    assert result.gradient_examples == 8
    squares = []
    for found, names in zip(result.sets, (PARAMETERS[::-1], (MATRIX,)), strict=True):
        names = tuple(name for name in bench.network.parameters if name in names)
        dense = Dense(bench, result, names)
        squares.append((dense.whole**2).sum())
        _check(bench, found, dense, arrays)
    assert result.norm_share == pytest.approx(1 - squares[1] / squares[0], rel=1e-5)


def _check(bench: Bench, found: Any, dense: Dense, arrays: Arrays) -> None:
    scale = np.abs(dense.values).max()
    np.testing.assert_allclose(found.spectrum.values, dense.values, atol=1e-5 * scale)
    assert all(found.spectrum.converged)
    assert found.entries == len(dense.hessian)
    assert found.sketch_error < 1e-6
    np.testing.assert_allclose(arrays[f"{found.name}_gram"], dense.gradients @ dense.gradients.T, rtol=1e-5, atol=1e-9)
    cosines = np.linalg.norm(unit(dense.whole) @ dense.basis.T, axis=1)
    np.testing.assert_allclose(found.task_cosines, cosines, rtol=1e-4)
    assert found.task_gradient.deviation == pytest.approx(cosines.std(ddof=1), rel=1e-3)
    gaussian = random_vector_cosine(found.entries, 4)
    for axes in found.axes:
        directions = dense.directions(dense.whole, axes.name)
        for direction, vector in zip(axes.directions, directions, strict=True):
            inside = vector @ dense.basis.T
            cosine = np.linalg.norm(inside)
            assert direction.eigenspace.value == pytest.approx(cosine, rel=1e-3)
            assert direction.nearest.value == pytest.approx(np.abs(inside).max(), rel=1e-3)
            assert direction.eigenvector == np.abs(inside).argmax()
            assert direction.gaussian_z == pytest.approx((cosine - gaussian[0]) / gaussian[1], rel=1e-3, abs=1e-3)
            assert direction.curvature.value == pytest.approx(vector @ dense.hessian @ vector, abs=1e-4 * scale)
        angle = linalg.subspace_angles(directions.T, dense.basis.T).min()
        assert axes.leading_angle == pytest.approx(np.degrees(angle), abs=0.1)
        for half in (0, 1):
            own = dense.directions(dense.gradients[half::2], axes.name) @ dense.basis.T
            assert axes.directions[0].eigenspace.halves[half] == pytest.approx(np.linalg.norm(own[0]), rel=1e-3)
            assert axes.largest.halves[half] == pytest.approx(np.abs(own).max(), rel=1e-3)
        _check_chance(bench, found.name, axes, dense, arrays)
    moved = [entry.branch for entry in found.branches]
    assert moved == ["branch-1", "branch-2"], "the third has not moved"
    for entry in found.branches:
        shift = dense.flat(dict(bench.network.combination({entry.branch: 1.0, "start": -1.0}))).numpy()
        assert entry.length == pytest.approx(np.linalg.norm(shift))
        expected = unit(shift) @ dense.hessian @ unit(shift)
        assert entry.curvature.value == pytest.approx(expected, abs=1e-5 * scale)


def _check_chance(bench: Bench, name: str, axes: Any, dense: Dense, arrays: Arrays) -> None:
    centre = "none" if axes.name == "raw" else "double"
    generator = bench.generator("alignment null", f"{name} {axes.name}")
    random = random_coefficients(TASKS, 3, centre, 300, generator)
    permuted = permuted_coefficients(arrays[f"{name}_{axes.name}_coefficients"], 300, generator)
    combined = dense.whole if centre == "none" else unit(dense.whole)
    for chance, coefficients in (("span", random), ("permutation", permuted)):
        cosines = np.linalg.norm(unit(coefficients @ combined) @ dense.basis.T, axis=-1)
        for number, direction in enumerate(axes.directions):
            found = getattr(direction.eigenspace, chance)
            low, high = np.quantile(cosines[:, number], [0.025, 0.975])
            assert (found.low, found.high) == pytest.approx((low, high), rel=1e-3)
            assert found.rank == pytest.approx((cosines[:, number] < direction.eigenspace.value).mean(), abs=0.01)


def test_the_result_comes_back_from_the_disk_as_it_was_and_reads_as_a_section(
    measured: tuple[Alignment, Arrays], tmp_path: Path
) -> None:
    result, arrays = measured
    save_result(ReportDirectory(tmp_path), "key", result, arrays)
    assert load_result(ReportDirectory(tmp_path), Alignment, "key") == result
    told = section(result)
    axis = result.sets[0].axes[1].directions[0]
    assert f"{axis.eigenspace.value:.3f}" in told.meaning
    assert f"rank {axis.eigenspace.span.rank:.2f}" in told.meaning
    assert "no closer than chance" in told.meaning or axis.eigenspace.span.verdict != "within"
    for table in told.tables:
        assert {len(row) for row in table.rows} == {len(table.head)}
    assert len(told.tables) == 8


def test_density_trace_and_mass_are_measured_where_they_are_asked_for(checkpoints: Checkpoints, tmp_path: Path) -> None:
    with network_of(checkpoints) as network:
        changed = {"parameters": [NORM], "eigenvectors": 4, "density_probes": 2, "density_steps": 24, "mass_steps": 8}
        bench = made(checkpoints, network, tmp_path, changed)
        result, arrays = alignment.measure(bench)
        (found,) = result.sets
        dense = Dense(bench, result, (NORM,))
        assert result.norm_share is None
        assert found.spectrum.trace.value == pytest.approx(np.trace(dense.hessian), rel=1e-4)
        grid = arrays["chosen_grid"]
        assert np.trapezoid(arrays["chosen_density"], grid) == pytest.approx(1, rel=0.02)
        values, vectors = np.linalg.eigh(dense.hessian)
        vector = dense.directions(dense.whole, "raw")[0]
        low, share, high = found.axes[0].directions[0].curvature.positive
        assert low <= share <= high
        assert share == pytest.approx(((vectors.T @ vector)[values > 0] ** 2).sum(), abs=0.01)


def test_gradients_are_the_same_whether_they_are_kept_or_computed_anew(bench: Bench) -> None:
    bench.network.move_to({"start": 1.0})
    halves = TaskHalves.of(bench)
    kept: list[torch.Tensor] = []
    with bench.network.differentiated([MATRIX]) as some:
        anew = list(HalfGradients(bench, halves, bench.network.parameters).over(some))
        with bench.network.differentiated(PARAMETERS) as chosen:
            gradients = HalfGradients(bench, halves, chosen)
            assert len(list(gradients.over(chosen))) == 2 * TASKS
        tokens = bench.meter.tokens
        kept = list(gradients.over(some))
    assert bench.meter.tokens == tokens == 2 * halves.input_tokens
    for one, other in zip(kept, anew, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-9)


def test_little_memory_for_vectors_changes_what_is_kept_and_no_number(
    measured: tuple[Alignment, Arrays], checkpoints: Checkpoints, tmp_path: Path
) -> None:
    whole, _ = measured
    with network_of(checkpoints) as network:
        # 72 numbers in half precision: room for 16 vectors, and for no gradient.
        tight = made(checkpoints, network, tmp_path, {"budget_gb": 2.4e-6, "tolerance": 1e-2})
        result, _ = alignment.measure(tight)
    assert result.sets[0].spectrum.storage == "float16"
    assert result.cost.tokens == 3 * whole.cost.tokens
    for one, other in zip(whole.sets, result.sets, strict=True):
        assert other.spectrum.values == pytest.approx(one.spectrum.values, rel=0.02, abs=0.02)
        assert other.task_cosines == pytest.approx(one.task_cosines, rel=0.05, abs=0.02)


def test_an_interrupted_lanczos_goes_on_where_it_was(
    bench: Bench, measured: tuple[Alignment, Arrays], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = measured
    product = MeteredOperator.product

    def stops(self: MeteredOperator, vector: torch.Tensor) -> torch.Tensor:
        if bench.meter.products == 12:
            raise KeyboardInterrupt
        return product(self, vector)

    monkeypatch.setattr(MeteredOperator, "product", stops)
    with pytest.raises(KeyboardInterrupt):
        alignment.measure(bench)
    monkeypatch.undo()
    monkeypatch.setattr(task_gradients, "encode", lambda rows, *_: list(rows))
    folder = bench.directory.checkpoint("any").parent
    stale = folder / "alignment-of-something-else.checkpoint"
    stale.write_bytes(b"")
    assert len(list(folder.glob("alignment-*.checkpoint"))) == 2
    bench.meter = Meter()
    result, _ = alignment.measure(bench)
    assert result.cost.products == whole.cost.products - 10
    for one, other in zip(whole.sets, result.sets, strict=True):
        assert one.spectrum == other.spectrum
    assert not list(folder.glob("*.checkpoint*")), "neither its own nor that of another Hessian"


def test_examples_are_shared_only_where_rows_are_few(bench: Bench) -> None:
    assert TaskHalves.of(bench).shared == 0
    bench.tasks = (task(0, 9), task(1, 12))
    halves = TaskHalves.of(bench)
    assert halves.shared == 2
    assert set(halves.curvature[0]) & {*halves.halves[0], *halves.halves[1]} == set(calibration(0, 9)[1:3])
    assert len(halves.halves[0]) == len(halves.halves[1]) == 4


def test_expected_tokens_are_an_upper_bound_of_what_is_reported(bench: Bench) -> None:
    reported: list[int] = []
    bench.meter = Meter(reported.append)
    expected = alignment.expected_tokens(bench)
    alignment.measure(bench)
    assert 0.2 * expected < sum(reported) < 1.3 * expected
    assert not any(parameter.requires_grad for parameter in bench.network.parameters.values())


@pytest.mark.parametrize(
    ("changed", "trainable", "message"),
    [
        ({"parameters": ["no.such"]}, "*", "'no.such' matches no parameter"),
        ({}, "lm_head.weight", "alignment.parameters: .* choose none that was trained"),
        ({"parameters": [NORM], "eigenvectors": 8}, "*", "alignment.eigenvectors: 8 eigenvectors span all of 8"),
        ({"max_products": 3}, "*", "alignment: 3 products cannot give 4 eigenvalues"),
        ({"budget_gb": 1e-9}, "*", "alignment: 1e-09 GB hold 0 vectors"),
        ({"density_probes": 1}, "*", "alignment: 1 probes give no error bar"),
        ({"parameters": ["last-layer"]}, "lm_head.weight", "last-layer needs numbered layers"),
    ],
)
def test_what_cannot_be_measured_is_said_in_terms_of_the_settings(
    checkpoints: Checkpoints, tmp_path: Path, changed: dict[str, Any], trainable: str, message: str
) -> None:
    with network_of(checkpoints) as network:
        bench = made(checkpoints, network, tmp_path, changed)
        bench.trainable = (trainable,)
        with pytest.raises(InputError, match=message):
            alignment.measure(bench)


def test_tasks_without_conflicts_or_examples_are_refused(bench: Bench) -> None:
    bench.tasks = (task(0),)
    with pytest.raises(InputError, match="1 task has no conflicts"):
        alignment.measure(bench)
    bench.tasks = (task(0), task(1, 1))
    with pytest.raises(InputError, match="'task-1' has 1 calibration rows"):
        alignment.measure(bench)
    bench.tasks = (task(0), task(0))
    with pytest.raises(InputError, match="gradients do not differ"):
        alignment.measure(bench)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_too_little_memory_names_the_settings_to_lower(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(MeteredOperator, "product", fails)
    with pytest.raises(InputError, match=r"lower probe.batch_tokens, alignment.graph_gb or alignment.budget_gb"):
        alignment.measure(bench)
    assert not any(parameter.requires_grad for parameter in bench.network.parameters.values())


def test_the_last_layer_is_the_one_with_the_highest_number() -> None:
    names = ["model.layers.2.a", "model.layers.10.mlp.experts.63.b", "model.layers.9.c", "model.norm.weight"]
    assert alignment.last_layer(names) == "model.layers.10.*"
