"""Joint training and merged arms by the number of epochs that they were trained for."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from figures.recorded import arms_of
from figures.study.settings import alike_but_for, setting
from training.errors import InputError, MissingInput
from training.run_directory import BranchDirectory, RunDirectory, read_json

JOINT = re.compile(r"joint(?:-(\d+(?:\.\d+)?))?")
MERGED = re.compile(r"merit-\d+d")
LAST = 0.1
"""Share of a branch's steps, from its end, over which its training loss is read."""


@dataclass(frozen=True, slots=True)
class Trained:
    """An arm after so many epochs.

    Attributes:
        method: ``joint``, or the name of the merged arm.
        epochs: over the mixture.
        displacement: of its model from the start.
        training_loss: nats per answer token over the last tenth of the steps, of all its branches together; None where
            their metrics are gone.
        loss: on held-out questions, with its interval.
    """

    method: str
    epochs: float
    displacement: float
    training_loss: float | None
    loss: Mapping[str, float]


def trained_by_epoch(runs: Sequence[RunDirectory]) -> list[tuple[list[RunDirectory], list[Trained]]]:
    """For each set of runs alike but for their epochs, these arms by method and epochs.

    Raises:
        MissingInput: a run has not ended, or no set has an arm at two numbers of epochs.
        InputError: a file is damaged.
    """
    found = []
    for alike in alike_but_for(runs, "branch.epochs"):
        own = [trained for run in alike for trained in _arms(run)]
        own.sort(key=lambda trained: (trained.method != "joint", trained.method, trained.epochs))
        if any(len({trained.epochs for trained in own if trained.method == method}) > 1 for method in _methods(own)):
            found.append((alike, own))
    if not found:
        raise MissingInput(
            "no arm was trained for different numbers of epochs; give a run with joint-0.5, joint and joint-2, or runs "
            "that differ by --set branch.epochs"
        )
    return found


def _methods(trained: Sequence[Trained]) -> list[str]:
    return list(dict.fromkeys(own.method for own in trained))


def _arms(run: RunDirectory) -> list[Trained]:
    arms, each = arms_of(run), float(setting(run, "branch.epochs"))
    found = []
    for name, row in arms.items():
        joint = JOINT.fullmatch(name)
        if not joint and not MERGED.fullmatch(name):
            continue
        epochs = each * float(joint[1] or 1) if joint else each
        method = "joint" if joint else name
        found.append(Trained(method, epochs, row["displacement"], _training_loss(run, name), row["loss"]))
    return found


def _training_loss(run: RunDirectory, arm: str) -> float | None:
    branches = read_json(run.arm(arm) / "arm.json")["branches"]
    loss = tokens = 0.0
    for name in branches:
        path = BranchDirectory(run.branch(name)).metrics
        if not path.is_file():
            return None
        try:
            steps: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error}); remove its folder and run the recipe again") from None
        for step in steps[-max(1, round(LAST * len(steps))) :]:
            if step["loss"] is None:  # it was infinite or no number
                return None
            loss += step["loss"] * step["answer_tokens"]
            tokens += step["answer_tokens"]
    return loss / tokens if tokens else None
