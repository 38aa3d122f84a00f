"""Signed sketches and the paper's strides against the exact cosine matrix of full gradients, on real tasks.

Gradients of all tasks are kept whole on disk, their cosines are summed in float64, and every estimator sees the same
gradients. Beside it: what sketching costs next to the passes it rides on, and the cosine matrix of 176 tasks from
sketches.

    .venv/bin/python -m benchmarks.sketch_fidelity
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr

from benchmarks.record import record
from benchmarks.tasks import BESIDE_THE_DEMO, demo_tasks
from merit_theory.conflict import cosine_from_gram, cosine_similarity
from training.config import MixtureSettings
from training.conflicts.sketch import SignedSketch
from training.mixture import freeze
from training.model.batching import Example, encode, micro_batches
from training.model.embedded import embedded_model
from training.model.load import load_model, load_tokenizer
from training.model.loss import answer_losses, pack_if_possible

SIZES = (1_024, 4_096, 16_384, 65_536)
STRIDES = (5, 100)
MICRO_BATCH_TOKENS = 1_024


def off_diagonal(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entries above the diagonal."""
    return matrix[np.triu_indices(len(matrix), 1)]


def accuracy(estimate: NDArray[np.float64], exact: NDArray[np.float64]) -> dict[str, float]:
    """RMSE and correlation of the off-diagonal cosines."""
    error = off_diagonal(estimate) - off_diagonal(exact)
    return {
        "rmse": round(float(np.sqrt(np.mean(error**2))), 5),
        "pearson": round(float(pearsonr(off_diagonal(estimate), off_diagonal(exact)).statistic), 5),
    }


class Gradients:
    """Full task gradients, flattened, on disk: float32 [n_tasks, n_parameters]."""

    def __init__(self, folder: Path, tasks: int, parameters: Sequence[tuple[str, torch.nn.Parameter]]) -> None:
        self.names = [name for name, _ in parameters]
        self.ends = np.cumsum([parameter.numel() for _, parameter in parameters])
        self.values = np.memmap(folder / "gradients", np.float32, "w+", shape=(tasks, int(self.ends[-1])))

    def keep(self, task: int, parameters: Sequence[tuple[str, torch.nn.Parameter]]) -> None:
        """Store and clear the accumulated gradients of a task."""
        for (_, parameter), end in zip(parameters, self.ends, strict=True):
            assert parameter.grad is not None
            self.values[task, end - parameter.numel() : end] = parameter.grad.reshape(-1).numpy()
            parameter.grad = None

    def gram(self, stride: int = 1, chunk: int = 2**22) -> NDArray[np.float64]:
        """Inner products over every ``stride``-th entry, summed in float64."""
        total = np.zeros((len(self.values),) * 2)
        for first in range(0, self.values.shape[1], chunk * stride):
            part = self.values[:, first : first + chunk * stride : stride].astype(np.float64)
            total += part @ part.T
        return total

    def sketches(self, size: int, seed: int) -> NDArray[np.float32]:
        """Sketches [n_tasks, size] of the stored gradients."""
        sketch = SignedSketch(size, seed, torch.device("cpu"))
        starts = np.concatenate([[0], self.ends[:-1]])
        rows = []
        for row in self.values:
            named = {
                name: torch.from_numpy(np.array(row[start:end]))
                for name, start, end in zip(self.names, starts, self.ends, strict=True)
            }
            rows.append(sketch.of(named).numpy())
        return np.stack(rows)


def measure(examples_per_task: int, seeds: int) -> dict[str, Any]:
    """Make the gradients and compare the estimators."""
    torch.set_num_threads(1)
    start = embedded_model("smollm2-135m")
    model = load_model(start, "float32", torch.device("cpu"))
    pack_if_possible(model)
    parameters = list(model.named_parameters())
    tokenizer = load_tokenizer(start)
    names: list[Any] = [f"reasoning_gym:{name}" for name in (*demo_tasks(), *BESIDE_THE_DEMO)]
    settings = MixtureSettings(tasks=names, train=1, calibration=examples_per_task, test=1)
    with tempfile.TemporaryDirectory() as name:
        mixture = freeze(settings, 0, Path(name) / "mixture")
        gradients = Gradients(Path(name), len(names), parameters)
        for number, task in enumerate(mixture.tasks):
            for batch in micro_batches(
                encode(task.rows("calibration"), tokenizer, 8192, task.name), MICRO_BATCH_TOKENS
            ):
                answer_losses(model, batch, "cross-entropy")[0].sum().backward()
            gradients.keep(number, parameters)
        exact = cosine_from_gram(gradients.gram())
        estimators: dict[str, Any] = {}
        for stride in STRIDES:
            estimators[f"every {stride}th entry"] = accuracy(cosine_from_gram(gradients.gram(stride)), exact)
        for size in SIZES:
            runs = [accuracy(cosine_similarity(gradients.sketches(size, seed)), exact) for seed in range(seeds)]
            estimators[f"sketch of {size}"] = {
                key: round(float(np.mean([run[key] for run in runs])), 5) for key in runs[0]
            } | {"rmse_by_seed": [run["rmse"] for run in runs]}
        pooled = [
            example
            for task in mixture.tasks
            for example in encode(task.rows("calibration"), tokenizer, 8192, task.name)
        ]
        cost = sketching_cost(model, parameters, pooled)
    return {
        "tasks": len(names),
        "examples_per_task": examples_per_task,
        "parameters": int(gradients.ends[-1]),
        "estimators": estimators,
        **cost,
        "seconds_for_cosines_of_176_tasks": cosine_seconds(),
    }


def sketching_cost(
    model: Any, parameters: Sequence[tuple[str, torch.nn.Parameter]], examples: Sequence[Example]
) -> dict[str, float]:
    """Seconds of a pass over a micro-batch and of sketching its gradient, medians of five."""
    sketch = SignedSketch(65_536, 0, torch.device("cpu"))
    batch = next(iter(micro_batches(examples, MICRO_BATCH_TOKENS)))
    passes, sketching = [], []
    for _ in range(5):
        for _, parameter in parameters:
            parameter.grad = None
        began = time.perf_counter()
        answer_losses(model, batch, "cross-entropy")[0].sum().backward()
        passed = time.perf_counter()
        sketch.of({name: parameter.grad for name, parameter in parameters if parameter.grad is not None})
        passes.append(passed - began)
        sketching.append(time.perf_counter() - passed)
    cost, ride = float(np.median(sketching)), float(np.median(passes))
    return {
        "tokens_per_micro_batch": int(batch.lengths.sum()),
        "tokens_after_packing": int((batch.lengths - batch.shared).sum()),
        "pass_seconds": round(ride, 3),
        "sketch_seconds": round(cost, 3),
        "sketch_share_of_extraction": round(cost / (cost + ride), 4),
    }


def cosine_seconds() -> float:
    """Median time of the cosine matrix of 176 tasks."""
    sketches = np.random.default_rng(0).standard_normal((176, 65_536)).astype(np.float32)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        cosine_similarity(sketches)
        seconds.append(time.perf_counter() - began)
    return round(float(np.median(seconds)), 3)


def main() -> None:
    """Measure and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=16, help="calibration examples per task")
    parser.add_argument("--seeds", type=int, default=3, help="sketch seeds")
    arguments = parser.parse_args()
    record("sketch_fidelity", measure(arguments.examples, arguments.seeds))


if __name__ == "__main__":
    main()
