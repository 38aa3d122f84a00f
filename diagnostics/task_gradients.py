"""Gradients of every task at the network's present point, in two random halves of its examples, one at a time.

No two gradients of a large model's size are in memory together: what is wanted of them (inner products, projections,
sums) is taken from each as it appears.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Parameter

from diagnostics.bench import Bench
from diagnostics.curvature.basis import Basis
from diagnostics.curvature.parameters import VectorLayout
from merit_theory.conflict import gram_matrix
from training.conflicts.sketch import SignedSketch
from training.errors import InputError
from training.model.batching import Example, encode, micro_batches
from training.model.loss import answer_losses

SKETCH_SIZE = 2**18
"""Buckets; a cosine is off by about 0.002, and by nothing where the gradient has fewer entries than that."""
KEPT_SHARE = 0.25
"""Share of the memory for vectors in which all gradients must fit to be kept."""
PASSES_PER_GRADIENT = 3
"""Forward passes that take as long as one gradient."""


@dataclass(frozen=True, slots=True)
class TaskHalves:
    """Calibration examples of every task, cut in two at random.

    Attributes:
        tasks: names.
        halves: [2 · n_tasks], the two halves of each task one after the other.
        curvature: [n_tasks], each task's examples for a Hessian.
        shared: how many examples of one task are at most in both.
    """

    tasks: tuple[str, ...]
    halves: tuple[tuple[Example, ...], ...]
    curvature: tuple[tuple[Example, ...], ...]
    shared: int

    @classmethod
    def of(cls, bench: Bench) -> "TaskHalves":
        """The Hessian's examples are the first rows, those of gradients the last: they meet only where rows are few.

        Raises:
            InputError: fewer than two tasks, or a task with fewer than two calibration rows.
        """
        settings = bench.settings.alignment
        if len(bench.tasks) < 2:
            raise InputError(f"{len(bench.tasks)} task has no conflicts to align; give two or more")
        halves: list[tuple[Example, ...]] = []
        curvature: list[tuple[Example, ...]] = []
        shared = 0
        for task in bench.tasks:
            rows = task.rows("calibration")
            if len(rows) < 2:
                raise InputError(
                    f"task {task.name!r} has {len(rows)} calibration rows, which make no two halves; give it more"
                )
            examples = encode(rows, bench.encoding.tokenizer, bench.encoding.max_length, task.name)
            chosen = examples[-settings.gradient_examples :]
            order = bench.generator("alignment halves", task.name).permutation(len(chosen))
            halves += [tuple(chosen[index] for index in part) for part in np.array_split(order, 2)]
            curvature.append(tuple(examples[: settings.per_task]))
            shared = max(shared, len(curvature[-1]) + len(chosen) - len(examples))
        return cls(tuple(task.name for task in bench.tasks), tuple(halves), tuple(curvature), shared)

    @property
    def input_tokens(self) -> int:
        """Tokens that pass through the model for all gradients once."""
        return sum(len(example) for half in self.halves for example in half)

    @property
    def fewest(self) -> int:
        """Examples of the task that has fewest."""
        return min(len(one) + len(other) for one, other in zip(self.halves[::2], self.halves[1::2], strict=True))

    @property
    def whole(self) -> NDArray[np.float64]:
        """Weights [n_tasks, 2 · n_tasks] that make each task's gradient per answer token of those of its halves."""
        tokens = np.array([sum(example.answer_tokens for example in half) for half in self.halves], dtype=np.float64)
        weights = np.kron(np.eye(len(self.tasks)), np.ones((1, 2))) * tokens
        return weights / weights.sum(axis=1, keepdims=True)


class HalfGradients:
    """The gradient of the loss per answer token on each half, in the order of the halves, where the network is.

    Computed anew each time, unless all of them take so little memory that they are kept.
    """

    def __init__(self, bench: Bench, halves: TaskHalves, parameters: Mapping[str, Parameter]) -> None:
        """Over ``parameters``, or any of them."""
        self._bench = bench
        self._halves = halves
        self._layout = VectorLayout.of(parameters)
        size = len(halves.halves) * self._layout.dimension * self._layout.dtype.itemsize
        self._keeps = size <= KEPT_SHARE * bench.settings.alignment.budget_gb * 1e9
        self._kept: list[Tensor] = []

    def over(self, parameters: Mapping[str, Parameter]) -> Iterator[Tensor]:
        """Their parts [d] over ``parameters``, which require gradients; those of all are kept if there is room.

        Raises:
            InputError: a gradient is not finite.
        """
        layout = VectorLayout.of(parameters)
        if len(self._kept) == len(self._halves.halves):
            for gradient in self._kept:
                pieces = self._layout.unflatten(gradient)
                yield layout.flatten({name: pieces[name] for name in layout.shapes})
            return
        self._kept.clear()
        keeps = self._keeps and layout == self._layout
        for number, examples in enumerate(self._halves.halves):
            gradient = gradient_of(self._bench, examples, parameters, self._halves.tasks[number // 2])
            if keeps:
                self._kept.append(gradient)
            yield gradient


def gradient_of(bench: Bench, examples: Sequence[Example], parameters: Mapping[str, Parameter], task: str) -> Tensor:
    """The gradient [d] of the loss per answer token on ``examples`` over ``parameters``, where the network is.

    Raises:
        InputError: it is not finite; the message names ``task``.
    """
    for batch in micro_batches(examples, bench.encoding.batch_tokens):
        losses, _ = answer_losses(bench.network.model, batch, bench.objective)
        losses.sum().backward()
        tokens = int(batch.lengths.sum())
        bench.meter.advance(tokens)
        bench.meter.report((PASSES_PER_GRADIENT - 1) * tokens)
    answer_tokens = sum(example.answer_tokens for example in examples)
    gradient = VectorLayout.of(parameters).flatten(_taken(parameters)).div_(answer_tokens)
    if not torch.isfinite(gradient).all():
        raise InputError(
            f"the gradient of task {task!r} at the start is not finite; check its calibration rows and the model"
        )
    return gradient


def _taken(parameters: Mapping[str, Parameter]) -> dict[str, Tensor]:
    """The gradients that backward left; the parameters keep none."""
    gradients = {}
    for name, parameter in parameters.items():
        gradients[name] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = None
    return gradients


def gram_matrices(
    gradients: Iterable[Tensor], layout: VectorLayout, subsets: Sequence[Collection[str]], seed: int
) -> list[NDArray[np.float64]]:
    """Inner products of ``gradients`` ([d] each) over each subset of the names, by sketches: float64 [m, m]."""
    sketch = SignedSketch(SKETCH_SIZE, seed, layout.device, layout.dtype)
    rows: list[list[NDArray[np.floating]]] = [[] for _ in subsets]
    for gradient in gradients:
        pieces = layout.unflatten(gradient)
        for sketches, names in zip(rows, subsets, strict=True):
            sketches.append(sketch.of({name: pieces[name] for name in names}).cpu().numpy())
    return [gram_matrix(np.stack(sketches)) for sketches in rows]


def projected(
    gradients: Iterable[Tensor], vectors: Basis, lifts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], list[Tensor]]:
    """Inner products of ``gradients`` with stored ``vectors``, and combinations of them in the model's space.

    Args:
        gradients: m of them, [d] each.
        vectors: l orthonormal vectors.
        lifts: float64 [k, m], coefficients of the combinations.

    Returns:
        float64 [m, l], and the k combinations.
    """
    combinations: list[Tensor] = []
    dots = []
    for gradient, coefficients in zip(gradients, lifts.T, strict=True):
        dots.append(vectors.dots(gradient).numpy())
        combinations = combinations or [torch.zeros_like(gradient) for _ in lifts]
        for combination, coefficient in zip(combinations, coefficients, strict=True):
            combination.add_(gradient, alpha=float(coefficient))
    return np.stack(dots), combinations
