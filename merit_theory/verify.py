"""Attack every statement and say whether its verdict is reproduced.

A claim that should stand is evaluated on thousands of random instances, then on descents from the worst of them, and
must fail on the stored instance of each hypothesis once that hypothesis alone is dropped. A claim that should fall must
have its hypotheses satisfied by its stored instances and fail on them. Demonstrations must show what they say.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from merit_theory.attack import attack
from merit_theory.propositions.proposition import Claim, Instance, Proposition, Scope, Sides, Verdict
from merit_theory.quick_jit import quick_jit

LEAST_SHARE = 0.5
"""Of the drawn instances that must satisfy the hypotheses; an ensemble that misses them tests nothing."""

TIGHT = 1e-9
"""Relative difference of the sides on an instance that is called tight."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of attacking one statement.

    Attributes:
        id: of the statement.
        statement: in one sentence.
        scope: in which model it is meant.
        verdict: the verdict it carries.
        failures: what did not come out as the verdict says; empty if it is reproduced.
        instances: random instances and descents on which a claim was evaluated with its hypotheses satisfied.
        worst_slack: lowest slack found of the claim that stands; none without such a claim.
        refutations: the stated claim on the instances that refute it, in numbers.
        without: the claim that stands on an instance without each of its hypotheses, in numbers.
        demonstrations: what was shown, in numbers.
        seconds: wall-clock.
    """

    id: str
    statement: str
    scope: Scope
    verdict: Verdict
    failures: tuple[str, ...]
    instances: int
    worst_slack: float | None
    refutations: tuple[str, ...]
    without: tuple[str, ...]
    demonstrations: tuple[str, ...]
    seconds: float

    @property
    def reproduced(self) -> bool:
        """Whether everything came out as the verdict says."""
        return not self.failures


class _Findings:
    """What has been found about one statement so far."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.refutations: list[str] = []
        self.without: list[str] = []
        self.demonstrations: list[str] = []
        self.instances = 0
        self.worst_slack: float | None = None

    def expect(self, holds: bool, failure: str) -> None:
        if not holds:
            self.failures.append(failure)


def verify(proposition: Proposition, instances: int, seed: int) -> Verification:
    """Attack one statement.

    Args:
        proposition: the statement.
        instances: random instances for each ensemble of the claim that should stand.
        seed: of everything random; each statement has its own stream.

    Returns:
        The findings; `Verification.reproduced` sums them up.

    Raises:
        ValueError: ``instances`` is not positive, or JAX does not compute in float64.
    """
    if instances < 1:
        raise ValueError(f"{instances} instances asked; verify needs at least 1")
    if not jax.config.jax_enable_x64:  # pyrefly: ignore[missing-attribute]
        raise ValueError("JAX computes in float32; set JAX_ENABLE_X64=true to verify in float64")
    began = time.perf_counter()
    rng = np.random.default_rng([seed, *proposition.id.encode()])
    found = _Findings()
    stands = proposition.claim if proposition.verdict.startswith("holds") else proposition.corrected
    _check_shape(proposition, found)
    if proposition.claim is not None and stands is not proposition.claim:
        _fall(proposition.claim, found)
    if stands is not None:
        _stand(stands, instances, rng, found)
    for demonstration in proposition.demonstrations:
        holds, numbers = demonstration.run(rng)
        found.expect(holds, f"not shown: {demonstration.shows} ({numbers})")
        found.demonstrations.append(f"{demonstration.shows}: {numbers}")
    return Verification(
        proposition.id,
        proposition.statement,
        proposition.scope,
        proposition.verdict,
        tuple(found.failures),
        found.instances,
        found.worst_slack,
        tuple(found.refutations),
        tuple(found.without),
        tuple(found.demonstrations),
        time.perf_counter() - began,
    )


def select(propositions: Sequence[Proposition], part_of_id: str) -> tuple[Proposition, ...]:
    """The statements whose id contains a text, in any case.

    Raises:
        ValueError: there is none.
    """
    chosen = tuple(proposition for proposition in propositions if part_of_id.lower() in proposition.id)
    if not chosen:
        ids = ", ".join(proposition.id for proposition in propositions)
        raise ValueError(f"no statement's id contains {part_of_id!r}; the ids are {ids}")
    return chosen


def _check_shape(proposition: Proposition, found: _Findings) -> None:
    """Whether the parts that the verdict speaks of are there at all."""
    claim, corrected, verdict = proposition.claim, proposition.corrected, proposition.verdict
    refuted = claim is not None and bool(claim.refutations)
    if verdict.startswith("holds"):
        found.expect(claim is not None, "nothing is claimed that could hold")
    if verdict == "holds with an added hypothesis":
        added = claim is not None and any(hypothesis.added for hypothesis in claim.hypotheses)
        found.expect(added, "no hypothesis is marked as added")
    if verdict == "false as stated":
        found.expect(refuted, "no refutation is stored")
        found.expect(corrected is not None, "no corrected form is given")
    if verdict in ("not derivable", "reproduced for another reason"):
        found.expect(refuted or bool(proposition.demonstrations), "nothing shows why")


def _fall(claim: Claim, found: _Findings) -> None:
    """Every stored refutation must satisfy the hypotheses and fail the claim."""
    for weighed in _weigh(claim, claim.refutations):
        for hypothesis, holds in zip(claim.hypotheses, weighed.satisfied, strict=True):
            found.expect(holds, f"the refutation of {claim.reads} does not satisfy: {hypothesis.reads}")
        found.expect(weighed.fails, f"the stored refutation satisfies {claim.reads}: {weighed.numbers}")
        found.refutations.append(f"{claim.reads} fails: {weighed.numbers}")


def _stand(claim: Claim, instances: int, rng: np.random.Generator, found: _Findings) -> None:
    """No attack may break the claim, and none of its hypotheses may be dropped."""
    dropped = [hypothesis for hypothesis in claim.hypotheses if hypothesis.without is not None]
    for hypothesis in claim.hypotheses:
        found.expect(hypothesis.without is not None, f"no instance shows that ({hypothesis.reads}) is needed")
    for hypothesis, weighed in zip(dropped, _weigh(claim, [h.without for h in dropped]), strict=True):
        violated = [other.reads for other, holds in zip(claim.hypotheses, weighed.satisfied, strict=True) if not holds]
        found.expect(
            violated == [hypothesis.reads],
            f"the instance without ({hypothesis.reads}) violates {violated or 'no hypothesis'}",
        )
        found.expect(weighed.fails, f"{claim.reads} survives without ({hypothesis.reads}): {weighed.numbers}")
        found.without.append(f"{hypothesis.reads}: {weighed.numbers}")
    for weighed in _weigh(claim, () if claim.tight is None else (claim.tight,)):
        touches = all(weighed.satisfied) and abs(weighed.slack - claim.tolerance) <= TIGHT
        found.expect(touches, f"the instance called tight is not: {weighed.numbers}")
        found.demonstrations.append(f"tight: {weighed.numbers}")
    for ensemble in claim.ensembles:
        drawn, met, worst = attack(claim, ensemble, instances, rng)
        found.expect(met >= LEAST_SHARE * drawn, f"only {met} of {drawn} drawn instances satisfy the hypotheses")
        found.expect(worst >= 0, f"{claim.reads} fails under attack: slack {worst:.3g}")
        found.instances += met
        found.worst_slack = worst if found.worst_slack is None else min(worst, found.worst_slack)


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A claim on one stored instance."""

    slack: float
    numbers: str
    satisfied: tuple[bool, ...]

    @property
    def fails(self) -> bool:
        """Whether the claim is false of the instance, or undefined."""
        return not self.slack >= 0


def _weigh(claim: Claim, instances: Sequence[Instance]) -> list[_Weighed]:
    """A claim on stored instances; those of one shape are compiled once."""

    def measure(instance: Instance) -> tuple[Any, Sides, list[Any]]:
        return claim.slack(instance), claim.sides(instance), [h.holds(instance) for h in claim.hypotheses]

    if claim.engine == "numpy":
        return [_weigh_alone(claim, instance) for instance in instances]
    compiled = quick_jit(measure)
    return [_read_measure(claim, *compiled(jax.tree.map(np.asarray, instance))) for instance in instances]


def _weigh_alone(claim: Claim, instance: Instance) -> _Weighed:
    """A claim that JAX does not trace; where the library refuses the instance the claim is undefined."""
    satisfied = [hypothesis.holds(instance) for hypothesis in claim.hypotheses]
    try:
        return _read_measure(claim, claim.slack(instance), claim.sides(instance), satisfied)
    except ValueError as refusal:
        return _Weighed(float("nan"), f"undefined: {refusal}", tuple(bool(holds) for holds in satisfied))


def _read_measure(claim: Claim, slack: Any, sides: Sides, satisfied: Sequence[Any]) -> _Weighed:
    """The entry of the sides that decides, in words."""
    # Adding zero turns minus zero, which reads like an error, into zero.
    left, right, scale = (np.asarray(side, dtype=np.float64) + 0.0 for side in sides)
    margin = (left - right) / scale
    decides = np.argmin(-np.abs(margin) if claim.relation == "=" else margin)
    relation = claim.relation if slack >= 0 else {"=": "≠", "≥": "<"}[claim.relation]
    left, right = np.broadcast_arrays(left, right)
    numbers = f"{left.flat[decides]:.6g} {relation} {right.flat[decides]:.6g}"
    return _Weighed(float(slack), numbers, tuple(bool(holds) for holds in satisfied))
