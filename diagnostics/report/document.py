"""Everything that a report says, before it becomes a page, a Markdown file or JSON."""

from dataclasses import dataclass
from typing import Any

from diagnostics.gain_check import GainCheck
from diagnostics.losses import Losses
from diagnostics.report.numbers import interval_text, negated
from diagnostics.report.section import Section, Table
from diagnostics.report.verdict import Verdict
from training.evaluation.noise import Interval


@dataclass(frozen=True, slots=True)
class Document:
    """A report in words, numbers and tables.

    Attributes:
        title: name of what was merged.
        subtitle: what was compared, in a few words.
        verdict: whether the branches were safe to merge.
        beside_joint: one sentence that compares the merged model with joint training.
        losses: the triple's source; None where losses were not measured.
        gain_check: None where it was not measured.
        sections: in the order of the report.
        missing: names of the diagnostics that were not measured.
        measured_on: models, tasks, settings and versions.
        command: what to type to get this report again.
    """

    title: str
    subtitle: str
    verdict: Verdict
    beside_joint: str
    losses: Losses | None
    gain_check: GainCheck | None
    sections: tuple[Section, ...]
    missing: tuple[str, ...]
    measured_on: tuple[Table, ...]
    command: str

    @property
    def triple(self) -> dict[str, Interval]:
        """Losses that are taken in together, by name: the branches' average, the merged model, and what they beat."""
        if self.losses is None:
            return {}
        found = {entry.model: entry.loss for entry in self.losses.models}
        shown = {"start": found["start"], "average branch": self.losses.branch_average, "merged": found["merged"]}
        references = {"joint, equal tokens": "joint", "joint, equal steps": "joint-equal-steps"}
        return shown | {label: found[model] for label, model in references.items() if model in found}

    @property
    def gains(self) -> dict[str, Interval]:
        """The gain as it was measured and as theory has it, by name."""
        if self.gain_check is None:
            return {} if self.losses is None else {"measured": self.losses.gain}
        return {
            "measured": self.gain_check.measured,
            "predicted by the Hessian": self.gain_check.predicted,
            "from midpoint dips": self.gain_check.from_dips,
        }

    @property
    def gain_sentence(self) -> str:
        """Whether the second-order theory accounts for the gain."""
        check = self.gain_check
        if check is None:
            return "What the theory predicts was not measured."
        if not check.difference.separates_from_zero:
            apart = interval_text(check.difference, signed=True)
            what = "agree" if check.verdict == "agrees" else "cannot be told apart on so few items"
            return f"Prediction and measurement {what}: they differ by {apart}."
        more = check.verdict == "overshoots"
        apart = interval_text(check.difference if more else negated(check.difference))
        share = f"{100 * abs(check.relative_error):.0f} % of the gain" if check.measured.value else "there is no gain"
        return f"The second-order theory predicts {apart} {'more' if more else 'less'} than was measured; {share}."

    def as_json(self) -> dict[str, Any]:
        """Verdict and triple as JSON values."""
        verdict = self.verdict
        return {
            "title": self.title,
            "verdict": {
                "answer": verdict.answer,
                "deciding": verdict.deciding,
                "checks": [
                    {"claim": check.claim, "outcome": check.outcome, "sentence": check.sentence}
                    for check in verdict.reasons
                ],
            },
            "beside_joint": self.beside_joint,
            "triple": {name: _values(interval) for name, interval in self.triple.items()},
            "gains": {name: _values(interval) for name, interval in self.gains.items()},
            "not_measured": list(self.missing),
        }


def _values(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
