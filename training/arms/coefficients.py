r"""How far along each displacement: $\theta^0 + \sum_k c_k \delta_k$ with the coefficients that suit validation data.

One coefficient scales an arm as a whole, one per branch weighs branches and scales them at once. The loss is the macro
mean of the answer loss over the validation rows of the mixture's tasks; its gradient in c is exact, the inner products
of one gradient in θ with the displacements.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from training.config import StartSettings
from training.errors import InputError
from training.intact import read_sealed, write_sealed
from training.interruption import Interrupted
from training.mixture import Mixture
from training.model.batching import Example, encode, micro_batches
from training.model.load import autocast, context_length, load_tokenizer
from training.model.loss import answer_losses, pack_if_possible
from training.model.network import Network
from training.run_directory import RunDirectory

BOUNDS = (-1.0, 3.0)
"""Where coefficients are looked for: a step beyond the start, and three times the displacement."""
STEPS = 8
"""Steps of the search; on one coefficient it ends earlier."""
FIRST_STEP = 0.25
"""Length of the first step: the slopes alone do not say how far to go, as displacements change the loss by little."""
LOSS_TOLERANCE = 1e-6
"""Relative change of the loss at which the search ends: far below the noise of any validation set."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted coefficients.

    Attributes:
        coefficients: one per displacement.
        loss: validation loss there, in nats per answer token (macro mean over tasks).
        path: coefficients and loss of every point that was looked at, in order; the first is where the search began.
    """

    coefficients: tuple[float, ...]
    loss: float
    path: tuple[tuple[tuple[float, ...], float], ...]


def fit_coefficients(
    root: Path,
    name: str,
    folders: Sequence[Path],
    initial: Sequence[float],
    key: str,
    start: StartSettings,
    batch_tokens: int,
    device: str,
    report: Callable[[int], None],
    stopping: Callable[[], bool],
) -> list[float]:
    """Fit the coefficients of the models ``folders`` from ``initial`` on, and write ``fits/NAME.json`` of the run.

    A fit that stands there under the same ``key`` is returned as it is.

    Raises:
        InputError: data that does not fit the model, or a loss that is not finite where the search begins.
        Interrupted: ``stopping`` said so.
    """
    run = RunDirectory(root)
    standing = read_sealed(run.fit(name))
    if standing is not None and standing["key"] == key:
        return standing["coefficients"]
    began = time.monotonic()
    models = {f"model-{number}": folder for number, folder in enumerate(folders, start=1)}
    with Network({"start": run.start, **models}, start.precision, torch.device(device)) as network:
        tasks = _validation_examples(run, start, network)
        pack_if_possible(network.model)
        with network.differentiated(start.trainable):
            loss = ValidationLoss(network, tasks, start, batch_tokens, report, stopping)
            fit = search(loss, initial)
    write_sealed(
        run.fit(name),
        {
            "key": key,
            "coefficients": list(fit.coefficients),
            "at_bound": not set(BOUNDS).isdisjoint(fit.coefficients),
            "validation_loss": fit.loss,
            "seconds": round(time.monotonic() - began, 3),
            "path": [{"coefficients": list(point), "loss": value} for point, value in fit.path],
        },
    )
    return list(fit.coefficients)


def _validation_examples(run: RunDirectory, start: StartSettings, network: Network) -> list[list[Example]]:
    tokenizer = load_tokenizer(run.start)
    limit = context_length(network.model.config, start.max_length)
    tasks = Mixture.load(run.mixture).tasks
    return [encode(task.rows("validation"), tokenizer, limit, task.name) for task in tasks]


class ValidationLoss:
    """The loss and its gradient as a function of the coefficients."""

    def __init__(
        self,
        network: Network,
        tasks: Sequence[Sequence[Example]],
        start: StartSettings,
        batch_tokens: int,
        report: Callable[[int], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._network, self._start, self._stopping, self._report = network, start, stopping, report
        self._batches = [
            (batch, len(tasks) * sum(example.answer_tokens for example in examples))
            for examples in tasks
            for batch in micro_batches(list(examples), batch_tokens)
        ]

    def __call__(self, coefficients: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Loss at the coefficients [K], and its derivative by each [K]; float64."""
        self._network.move_to(point_at(coefficients))
        self._network.model.zero_grad(set_to_none=True)
        total = 0.0
        for batch, share in self._batches:
            if self._stopping():
                raise Interrupted("the fit was stopped")
            with autocast(self._start.precision, self._network.model.device):
                losses, _ = answer_losses(self._network.model, batch, self._start.objective)
            loss = losses.sum() / share
            loss.backward()
            total += loss.double().item()
            self._report(int(batch.lengths.sum()))
        slopes = [self._slope(f"model-{number}") for number in range(1, len(coefficients) + 1)]
        return total, np.array(slopes)

    def _slope(self, model: str) -> float:
        displacement = self._network.combination({model: 1.0, "start": -1.0})
        return float(sum(inner for inner in _inner_products(displacement, self._network.parameters)))


def point_at(coefficients: NDArray[np.float64]) -> dict[str, float]:
    """The point θ⁰ + Σ c_k δ_k as a combination of the start and the models, with sum one."""
    names = [f"model-{number}" for number in range(1, len(coefficients) + 1)]
    return {"start": 1.0 - float(np.sum(coefficients)), **dict(zip(names, map(float, coefficients), strict=True))}


def _inner_products(
    displacement: Iterator[tuple[str, torch.Tensor]], parameters: Mapping[str, torch.nn.Parameter]
) -> Iterator[float]:
    """Per tensor the inner product of displacement and gradient; rows in float32, their sum in float64."""
    for name, moved in displacement:
        gradient = parameters[name].grad
        if gradient is not None:
            product = torch.atleast_1d(moved * gradient)
            yield product.reshape(-1, product.shape[-1]).sum(dim=1).double().sum().item()


def search(loss: Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]], initial: Sequence[float]) -> Fit:
    """Minimise ``loss`` within :data:`BOUNDS` by L-BFGS-B from ``initial``; the best point seen counts.

    Raises:
        InputError: the loss is not finite where the search begins.

    >>> fit = search(lambda c: (float((c[0] - 0.75) ** 2), 2 * (c - 0.75)), [1.0])
    >>> round(fit.coefficients[0], 6)
    0.75
    """
    path: list[tuple[tuple[float, ...], float]] = []
    scale = 1.0

    def recorded(coefficients: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal scale
        value, slopes = loss(coefficients)
        if not path:
            if not np.isfinite(value):
                raise InputError("the validation loss of the branches' merge is not finite; lower branch.learning_rate")
            # L-BFGS-B goes as far as the slopes are long, before it has seen two points.
            scale = FIRST_STEP / (float(np.linalg.norm(slopes)) or 1.0)
        path.append((tuple(map(float, coefficients)), value))
        return scale * value, scale * slopes

    minimize(
        recorded,
        np.clip(np.asarray(initial, dtype=np.float64), *BOUNDS),
        jac=True,
        method="L-BFGS-B",
        bounds=[BOUNDS] * len(initial),
        options={"maxiter": STEPS, "ftol": LOSS_TOLERANCE, "gtol": 0.0},
    )
    coefficients, value = min((entry for entry in path if np.isfinite(entry[1])), key=lambda entry: entry[1])
    return Fit(coefficients, value, tuple(path))
