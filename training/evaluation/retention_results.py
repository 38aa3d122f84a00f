"""What was measured of retention on every arm, and what of it is noise: paired bootstrap over the prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.config import EvaluationSettings
from training.evaluation.noise import LEVEL, Interval
from training.evaluation.retention_reference import load_reference
from training.run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class RetentionItems:
    """Results of one model on each general prompt, read back.

    Attributes:
        loss: [n] float64, nats summed over the tokens of the reference answer.
        divergence: [n] float64, KL(reference model ∥ this model) in nats, summed over the same tokens.
        tokens: [n] int64, those tokens, with the end token where the reference answer has one.
        length: [n] int64, tokens of this model's own greedy answer, without the end token.
        ended: [n] bool, whether it ended its answer within the limit.
    """

    loss: NDArray[np.float64]
    divergence: NDArray[np.float64]
    tokens: NDArray[np.int64]
    length: NDArray[np.int64]
    ended: NDArray[np.bool_]


def load_retention(path: Path) -> RetentionItems:
    """Read ``retention/ARM.npz``."""
    with np.load(path) as file:
        return RetentionItems(**{name: file[name] for name in ("loss", "divergence", "tokens", "length", "ended")})


@dataclass(frozen=True, slots=True)
class Retention:
    """Retention of one model, with 95 % bootstrap intervals over the prompts.

    Attributes:
        loss: on the reference answers, in nats per token.
        divergence: KL(reference model ∥ model) at the same tokens, in nats per token.
        length: mean length of its own greedy answers in tokens; no answer is longer than the limit.
        cut: share of its answers that the limit ended.
    """

    loss: Interval
    divergence: Interval
    length: Interval
    cut: float


@dataclass(frozen=True, slots=True)
class RetentionDifference:
    """Retention of an arm minus that of a control, on the same draws of prompts; units as in :class:`Retention`."""

    arm: str
    control: str
    loss: Interval
    divergence: Interval
    length: Interval


@dataclass(frozen=True, slots=True)
class RetentionResults:
    """Retention of every arm of a run.

    Attributes:
        prompts: number of general prompts.
        limit: tokens after which an answer was cut.
        reference_length: mean length of the base model's answers in tokens.
        reference_cut: share of them that the limit ended.
        arms: by name.
        differences: of every arm from ``joint`` and from ``start``, where the run has those.
    """

    prompts: int
    limit: int
    reference_length: float
    reference_cut: float
    arms: Mapping[str, Retention]
    differences: tuple[RetentionDifference, ...]


class RetentionDraws:
    """Bootstrap draws over the prompts, the same for every model and every quantity."""

    def __init__(self, models: Sequence[RetentionItems], draws: int, generator: np.random.Generator) -> None:
        first = models[0]
        assert all(np.array_equal(first.tokens, model.tokens) for model in models), "models had other references"
        prompts = len(first.tokens)
        counts = generator.multinomial(prompts, np.full(prompts, 1 / prompts), size=draws)
        # The sample itself is the first draw, so that value and interval are one computation.
        counts = np.concatenate([np.ones((1, prompts), dtype=counts.dtype), counts])
        tokens = counts @ first.tokens
        self._models = models
        self._loss = [counts @ model.loss / tokens for model in models]
        self._divergence = [counts @ model.divergence / tokens for model in models]
        self._length = [counts @ model.length / prompts for model in models]

    def of(self, model: int) -> Retention:
        """Retention of one model."""
        measured = (_interval(quantity[model]) for quantity in (self._loss, self._divergence, self._length))
        return Retention(*measured, cut=float(np.mean(~self._models[model].ended)))

    def difference(self, arm: str, model: int, control: str, other: int) -> RetentionDifference:
        """Retention of ``model`` minus that of ``other``, which are called ``arm`` and ``control``."""
        quantities = (self._loss, self._divergence, self._length)
        return RetentionDifference(
            arm, control, *(_interval(quantity[model] - quantity[other]) for quantity in quantities)
        )


def _interval(draws: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(draws[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(draws[0]), float(low), float(high))


def summarise_retention(
    run: RunDirectory, arms: Sequence[str], settings: EvaluationSettings, generator: np.random.Generator
) -> RetentionResults:
    """Read what was measured of retention on these arms."""
    reference = load_reference(run)
    draws = RetentionDraws([load_retention(run.retention(arm)) for arm in arms], settings.bootstrap, generator)
    return RetentionResults(
        prompts=len(reference),
        limit=settings.retention_tokens,
        reference_length=float(np.mean([answer.length for answer in reference])),
        reference_cut=float(np.mean([not answer.ended for answer in reference])),
        arms={arm: draws.of(number) for number, arm in enumerate(arms)},
        differences=tuple(
            draws.difference(arm, number, control, arms.index(control))
            for number, arm in enumerate(arms)
            for control in ("joint", "start")
            if control in arms and arm not in (control, "base", "start")
        ),
    )
