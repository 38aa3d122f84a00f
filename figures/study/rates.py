"""Losses of arms over runs that differ in their learning rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from figures.arm_families import Family, by_family
from figures.recorded import arms_of
from figures.study.settings import alike_but_for, setting
from training.errors import MissingInput
from training.run_directory import RunDirectory

SHOWN = (Family.JOINT, Family.CONTROLS, Family.PARTITIONS, Family.SOUPS)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Runs alike but for their learning rate.

    Attributes:
        runs: in the order of their rates.
        rates: of the runs, ascending.
        losses: by arm and rate, with intervals; arms that have at least two rates, by family.
    """

    runs: Sequence[RunDirectory]
    rates: Sequence[float]
    losses: Mapping[str, Mapping[float, Mapping[str, float]]]

    @property
    def optimizer(self) -> str:
        """Of the branches."""
        return str(setting(self.runs[0], "branch.optimizer"))


def sweeps(runs: Sequence[RunDirectory]) -> list[Sweep]:
    """The sweeps that the runs hold.

    Raises:
        MissingInput: a run has not ended, or no two runs differ in their learning rate alone.
    """
    found = []
    for alike in alike_but_for(runs, "branch.learning_rate"):
        by_rate = {float(setting(run, "branch.learning_rate")): run for run in alike}
        rates = sorted(by_rate)
        arms = {rate: arms_of(by_rate[rate]) for rate in rates}
        names = dict.fromkeys(name for rate in rates for name in arms[rate])
        families = by_family(names)
        losses = {
            name: {rate: arms[rate][name]["loss"] for rate in rates if name in arms[rate]}
            for family in SHOWN
            for name in families.get(family, ())
        }
        losses = {name: own for name, own in losses.items() if len(own) > 1}
        if losses:
            found.append(Sweep([by_rate[rate] for rate in rates], rates, losses))
    if not found:
        raise MissingInput(
            "no two runs differ in their learning rate alone; make them with --set branch.learning_rate=1e-4 and other "
            "rates, and give each with --run"
        )
    return found
