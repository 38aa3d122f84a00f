"""An optimiser step of joint training, of PCGrad and of GradNorm: what benchmarks/conflict_aware_training.py measures.

All three take the gradient of the same sum over tasks, so that unweighted and without a conflict they take the same
step. PCGrad (arXiv 2001.06782) keeps the tasks' gradients flat, reads from their Gram matrix what each is projected on,
and combines them once. GradNorm (arXiv 1711.02257) passes tasks backward one by one and takes the norms of their
gradients in the last layer on the way, so that no pass is made twice.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Parameter

from training.branches.optimisation import clip_gradients, make_optimizer
from training.branches.spec import BranchSpec
from training.mixture import Mixture
from training.model.batching import Example, encode, micro_batches
from training.model.load import autocast, choose_trainable, load_model, load_tokenizer
from training.model.loss import answer_losses, pack_if_possible
from training.results.cost_of_run import last_layer

ALPHA, RATE = 1.5, 0.025
"""GradNorm's strength, and the learning rate of its weights."""
LEAST_WEIGHT = 1e-3
"""A task whose weight was none would have no gradient whose norm could bring it back."""
CHUNK = 2**18
"""Columns of the task gradients that are summed in their own dtype before the sum goes on in float64."""

TaskBatches = list[list[Example]]
"""The examples of one step, task by task."""


def gram_matrix(gradients: Tensor) -> Tensor:
    """Inner products [n_tasks, n_tasks] (float64) of the rows of ``gradients`` [n_tasks, n_parameters]."""
    total = torch.zeros(len(gradients), len(gradients), dtype=torch.float64, device=gradients.device)
    for part in gradients.split(CHUNK, dim=1):
        total += (part @ part.T).double()
    return total


def projected_sum(gram: Tensor, generator: torch.Generator) -> Tensor:
    """Coefficients [n_tasks] of the task gradients in PCGrad's sum of projected gradients.

    Each task's gradient loses, for the others in random order, what of it points against theirs. All of it happens in
    the span of the task gradients, so their Gram matrix [n_tasks, n_tasks] (float64) is enough.
    """
    tasks = len(gram)
    coefficients = torch.eye(tasks, dtype=gram.dtype)
    for task in range(tasks):
        for other in torch.randperm(tasks, generator=generator).tolist():
            inner = coefficients[task] @ gram[:, other]
            if other != task and inner < 0:
                coefficients[task, other] -= inner / gram[other, other]
    return coefficients.sum(dim=0)


def balanced_weights(weights: Tensor, norms: Tensor, progress: Tensor) -> Tensor:
    """GradNorm's task weights [n_tasks] after a step: one step down its loss, then scaled to sum to their number.

    Args:
        weights: before it.
        norms: of the unweighted tasks' gradients in the last layer.
        progress: loss of each task over its first loss; the slower a task learns, the larger its norm is to be.
    """
    weighted = weights * norms
    target = weighted.mean() * (progress / progress.mean()) ** ALPHA
    moved = (weights - RATE * (weighted - target).sign() * norms).clamp_min(LEAST_WEIGHT)
    return moved * len(weights) / moved.sum()


class Training:
    """A model, its optimiser and the batches, as a branch has them."""

    def __init__(self, spec: BranchSpec, steps: int, device: torch.device) -> None:
        self.spec = spec
        self.model = load_model(Path(spec.start_path), spec.precision, device).train()
        pack_if_possible(self.model)
        self.trainable = choose_trainable(self.model, spec.trainable)
        self.optimizer = make_optimizer(spec.settings, self.trainable.values())
        self.steps = self._batches(steps)
        counts = {name: parameter.numel() for name, parameter in self.trainable.items()}
        self.last = [self.trainable[name] for name in last_layer(counts)]

    def _batches(self, steps: int) -> list[TaskBatches]:
        tokenizer = load_tokenizer(Path(self.spec.start_path))
        tasks = [
            encode(task.rows("train"), tokenizer, self.model.config.max_position_embeddings, task.name)
            for task in Mixture.load(Path(self.spec.mixture_path)).tasks
        ]
        each = self.spec.settings.batch_size // len(tasks)
        return [[examples[step * each : (step + 1) * each] for examples in tasks] for step in range(steps)]

    def backward(self, examples: Sequence[Example], answer_tokens: int, weight: float = 1.0) -> float:
        """Add the gradient of the examples' loss over ``answer_tokens``, times ``weight``; return the loss."""
        total = 0.0
        for batch in micro_batches(examples, self.spec.settings.micro_batch_tokens):
            with autocast(self.spec.precision, self.model.device):
                losses, _ = answer_losses(self.model, batch, self.spec.objective)
            loss = losses.sum() / answer_tokens
            (weight * loss).backward()
            total += loss.detach().double().item()
        return total

    def update(self, gradients: Sequence[Tensor]) -> None:
        """Clip and step."""
        clip_gradients(list(gradients), self.spec.settings.clip_norm)
        self.optimizer.step()


def answer_tokens_of(tasks: TaskBatches) -> int:
    """Tokens with loss in a step's batch."""
    return sum(example.answer_tokens for examples in tasks for example in examples)


def gradients_of(parameters: Sequence[Parameter]) -> list[Tensor]:
    """Their gradients."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


class Joint:
    """One backward pass over the batch, as a branch trains."""

    def __init__(self, training: Training) -> None:
        self.training = training

    def step(self, tasks: TaskBatches) -> float:
        """One optimiser step; the loss before it."""
        training = self.training
        training.optimizer.zero_grad()
        loss = training.backward([example for examples in tasks for example in examples], answer_tokens_of(tasks))
        training.update(gradients_of(list(training.trainable.values())))
        return loss


class PCGrad:
    """A backward pass for every task, each into a row of its own, and the combination of the rows."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.parameters = list(training.trainable.values())
        first = self.parameters[0]
        size = sum(parameter.numel() for parameter in self.parameters)
        self.rows = torch.zeros(len(training.steps[0]), size, dtype=first.dtype, device=first.device)
        self.combined = torch.zeros(size, dtype=first.dtype, device=first.device)
        self.generator = torch.Generator().manual_seed(0)

    def _gradients_in(self, flat: Tensor) -> None:
        """Make the parameters' gradients views of ``flat`` [n_parameters], where backward passes add them up."""
        sizes = [parameter.numel() for parameter in self.parameters]
        for parameter, part in zip(self.parameters, flat.split(sizes), strict=True):
            parameter.grad = part.view_as(parameter)

    def step(self, tasks: TaskBatches) -> float:
        """One optimiser step; the loss before it."""
        answers = answer_tokens_of(tasks)
        self.rows.zero_()
        loss = 0.0
        for row, examples in zip(self.rows, tasks, strict=True):
            self._gradients_in(row)
            loss += self.training.backward(examples, answers)
        coefficients = projected_sum(gram_matrix(self.rows).cpu(), self.generator)
        torch.mv(self.rows.T, coefficients.to(self.rows), out=self.combined)
        self._gradients_in(self.combined)
        self.training.update(gradients_of(self.parameters))
        return loss


class GradNorm:
    """A weighted backward pass for every task, and the norm of its gradient in the last layer."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.weights = torch.ones(len(training.steps[0]), dtype=torch.float64)
        self.first: Tensor | None = None

    def step(self, tasks: TaskBatches) -> float:
        """One optimiser step; the loss before it."""
        training, answers = self.training, answer_tokens_of(tasks)
        training.optimizer.zero_grad()
        sums: list[Tensor | None] = [None] * len(training.last)
        norms, losses = [], []
        for examples, weight in zip(tasks, self.weights.tolist(), strict=True):
            losses.append(training.backward(examples, answers, weight))
            norms.append(clip_gradients(gradients_of(training.last), None) / weight)
            sums = self._set_aside(sums)
        for parameter, total in zip(training.last, sums, strict=True):
            parameter.grad = total
        training.update(gradients_of(list(training.trainable.values())))
        per_token = torch.tensor(losses, dtype=torch.float64)
        per_token /= torch.tensor([answer_tokens_of([examples]) / answers for examples in tasks])
        self.first = per_token if self.first is None else self.first
        norm = torch.tensor(norms, dtype=torch.float64)
        self.weights = balanced_weights(self.weights, norm, per_token / self.first)
        return sum(losses)

    def _set_aside(self, sums: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Add the last layer's gradients to the sums over earlier tasks, and leave none for the next to add to."""
        added: list[Tensor | None] = []
        for parameter, earlier in zip(self.training.last, sums, strict=True):
            gradient, parameter.grad = parameter.grad, None
            added.append(gradient if earlier is None or gradient is None else earlier.add_(gradient))
        return added
