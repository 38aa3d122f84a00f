"""Whether the branches were safe to merge: three checks, and the answer that follows from them.

Merge-ready says that averaging these branches destroys nothing: no barrier lies between the models, the merged model is
no worse than the branches are on average, and it is better than where they started. It does not say that merging beats
joint training; :func:`beside_joint` says how the two compare.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from diagnostics.connectivity import Connectivity, LinearPath
from diagnostics.losses import Losses
from diagnostics.report.numbers import comparison_text, interval_text, negated
from diagnostics.result import Result
from training.evaluation.noise import Interval

NEGLIGIBLE = 0.01
"""Nats per answer token below which a barrier or a loss does not matter: 1 % of perplexity."""

Answer = Literal["merge-ready", "not merge-ready", "undecided"]
Outcome = Literal["holds", "open", "fails"]
WORST_FIRST: tuple[Outcome, ...] = ("fails", "open", "holds")

WHAT_READY_MEANS = (
    "Merge-ready says that averaging destroys nothing; it does not say that merging beats joint training."
)

AVERAGE, START = "the branches' average", "the start's"
MEASURE_ALL = "run the same command without --only; what stands is not measured again"

Kind = TypeVar("Kind", bound=Result)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold before a merge is safe.

    Attributes:
        claim: what is checked.
        outcome: whether it holds, fails, or the measurements leave it open.
        sentence: the number behind it.
    """

    claim: str
    outcome: Outcome
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, the sentence that decides it, and all checks."""

    answer: Answer
    deciding: str
    reasons: tuple[Check, ...]


def decide(results: Sequence[Result]) -> Verdict:
    """Merge-ready if every check holds, not if one fails, undecided otherwise; the first of the worst decides."""
    losses = result_of(results, Losses)
    checks = (_barrier(result_of(results, Connectivity)), _gain(losses), _start(losses))
    worst = min(checks, key=lambda check: WORST_FIRST.index(check.outcome))
    if worst.outcome == "fails":
        return Verdict("not merge-ready", worst.sentence, checks)
    if worst.outcome == "open":
        return Verdict("undecided", worst.sentence, checks)
    assert losses is not None, "without losses no check on them holds"
    deciding = (
        f"No barrier above {NEGLIGIBLE} nats per answer token lies between the models, and the merged model's loss is "
        f"{comparison_text(negated(losses.gain), AVERAGE)} and {comparison_text(losses.merged_minus['start'], START)}."
    )
    return Verdict("merge-ready", deciding, checks)


def beside_joint(losses: Losses | None) -> str:
    """One sentence: how the merged model compares with joint training at equal tokens and at equal steps."""
    if losses is None:
        return f"How the merged model compares with joint training was not measured; {MEASURE_ALL}."
    references = {"joint": "joint training's at equal tokens", "joint-equal-steps": "joint training's at equal steps"}
    comparisons = [
        comparison_text(losses.merged_minus[model], other)
        for model, other in references.items()
        if model in losses.merged_minus
    ]
    if not comparisons:
        return "No jointly trained model was given, so nothing here says whether merging beats joint training."
    return f"The merged model's loss is {', and '.join(comparisons)}."


def result_of(results: Sequence[Result], kind: type[Kind]) -> Kind | None:
    """The result of this kind, if it was measured."""
    return next((result for result in results if isinstance(result, kind)), None)


def _barrier(connectivity: Connectivity | None) -> Check:
    claim = "No barrier between the models"
    if connectivity is None:
        return Check(claim, "open", f"The paths between the models were not measured; {MEASURE_ALL}.")
    worst = max(connectivity.paths, key=lambda path: (WORST_FIRST[::-1].index(_blocks(path)), path.barrier.value))
    where = f"{worst.ends[0]} and {worst.ends[1]}"
    height = f"{interval_text(worst.barrier)} nats per answer token"
    if _blocks(worst) == "fails":
        return Check(claim, "fails", f"A barrier of {height} lies between {where}; {NEGLIGIBLE} would not matter.")
    if _blocks(worst) == "open":
        return Check(
            claim,
            "open",
            f"The barrier between {where}, {height}, may or may not exceed the {NEGLIGIBLE} that would not matter; "
            "measure more examples.",
        )
    return Check(
        claim,
        "holds",
        f"The highest barrier, between {where}, is {height}; up to {NEGLIGIBLE} does not matter.",
    )


def _blocks(path: LinearPath) -> Outcome:
    if path.barrier.low > NEGLIGIBLE:
        return "fails"
    return "holds" if path.barrier.high <= NEGLIGIBLE else "open"


def _gain(losses: Losses | None) -> Check:
    claim = "Merging is no worse than the average branch"
    if losses is None:
        return Check(claim, "open", f"The losses were not measured; {MEASURE_ALL}.")

    def outcome(gain: Interval) -> Outcome:
        if gain.high < 0:
            return "fails"
        return "holds" if gain.low >= -NEGLIGIBLE else "open"

    return _over_tokens_and_tasks(
        claim,
        outcome(losses.gain),
        outcome(losses.macro_gain),
        negated(losses.gain),
        negated(losses.macro_gain),
        AVERAGE,
    )


def _start(losses: Losses | None) -> Check:
    claim = "Tuning and merging improve on the start"
    if losses is None:
        return Check(claim, "open", f"The losses were not measured; {MEASURE_ALL}.")

    def outcome(difference: Interval) -> Outcome:
        if difference.low > 0:
            return "fails"
        return "holds" if difference.high < 0 else "open"

    overall, macro = losses.merged_minus["start"], losses.macro_merged_minus["start"]
    return _over_tokens_and_tasks(claim, outcome(overall), outcome(macro), overall, macro, START)


def _over_tokens_and_tasks(
    claim: str, overall: Outcome, macro: Outcome, difference: Interval, macro_difference: Interval, other: str
) -> Check:
    """The worse of two outcomes: what depends on the way losses are averaged is not settled."""
    sentence = f"The merged model's loss is {comparison_text(difference, other)}"
    if macro == overall:
        return Check(claim, overall, f"{sentence}.")
    sentence += f"; as a mean over tasks it is {comparison_text(macro_difference, other)}."
    return Check(claim, min(overall, macro, key=WORST_FIRST.index), sentence)
