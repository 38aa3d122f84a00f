"""Kills runs at random moments, for as long as you like: ``python -m tests.pipeline.kill_loop --rounds 20 --seed 0``.

A round is one run directory: it is killed a few times in random stages and then left to end; what it ends with must be
what an undisturbed run ends with. Most kills fall where models are merged, which is also where coefficients are fitted
and drifts are measured. The last line is JSON with the counts, after Ctrl-C too; the exit code is 1 if a round went
wrong.
"""

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.pipeline.every_kind import EVERY_KIND
from tests.pipeline.killing import (
    STAGES,
    STAGES_WITH_WORKERS,
    Attempt,
    Death,
    Kill,
    Outcome,
    Target,
    differences,
    first_lacking,
    kill_until_done,
    outcome,
    stage_seconds,
)

MOST_KILLS = 4
LIKELY = {"branches": 2, "merge": 6, "evaluation": 4}
"""How much likelier than others the stages are whose jobs leave several kinds of file."""
TARGETS: tuple[Target, ...] = ("driver", "worker", "group", "SIGTERM", "SIGINT")


def draw(choose: random.Random) -> list[Kill]:
    """One to ``MOST_KILLS`` kills in the order of their stages, so that few of them come after their work is done."""
    weights = [LIKELY.get(stage, 1) for stage in STAGES]
    stages = sorted(choose.choices(STAGES, weights, k=choose.randint(1, MOST_KILLS)), key=STAGES.index)
    kills = []
    for stage in stages:
        targets = TARGETS if stage in STAGES_WITH_WORKERS else [target for target in TARGETS if target != "worker"]
        kills.append(Kill(stage, choose.choice(targets), choose.random()))
    return kills


def undisturbed(out: Path) -> tuple[Outcome, dict[str, float]]:
    """What a run ends with, and the seconds of its stages, when nobody disturbs it."""
    with Attempt(out, EVERY_KIND) as attempt:
        code, stderr = attempt.end()
    assert code == 0, stderr
    return outcome(out), stage_seconds(out)


def play(out: Path, seed: int, number: int, expected: Outcome, seconds: dict[str, float]) -> tuple[list[Death], str]:
    """One round: its deaths, and what went wrong (empty if nothing did)."""
    choose = random.Random(f"{seed} {number}")
    kills = draw(choose)
    plan = "; ".join(f"{kill.target} in {kill.stage} at {kill.moment:.3f}" for kill in kills)
    deaths: list[Death] = []
    try:
        deaths = kill_until_done(out, kills, seconds, choose, EVERY_KIND)
        wrong = ", ".join(differences(expected, outcome(out)))
    except AssertionError as error:
        wrong = str(error)
    where = ", ".join(f"{death.stage} {death.target} {death.code}" for death in deaths)
    _say(f"round {number}: {f'WRONG ({plan}): {wrong}' if wrong else f'same after {where}'}")
    return deaths, wrong


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the loop."""
    parser = argparse.ArgumentParser(description="kill runs at random moments and compare what they end with")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first round, to play one again")
    arguments = parser.parse_args()
    began = time.monotonic()
    stages: Counter[str] = Counter()
    targets: Counter[str] = Counter()
    lacking: Counter[str] = Counter()
    mismatches = []
    played = 0
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        whole = Path(folder) / "undisturbed"
        expected, seconds = undisturbed(whole)
        for number in range(arguments.first, arguments.first + arguments.rounds):
            deaths, wrong = play(Path(folder) / str(number), arguments.seed, number, expected, seconds)
            played += 1
            stages.update(death.stage for death in deaths if death.stage is not None)
            targets.update(death.target for death in deaths if death.stage is not None)
            next_files = [first_lacking(whole, death.files) for death in deaths if death.stage is not None]
            lacking.update("nothing" if path is None else path.parts[0] for path in next_files)
            if wrong:
                again = f"--seed {arguments.seed} --first {number} --rounds 1"
                mismatches.append({"again": again, "wrong": wrong})
    counts = {
        "rounds": played,
        "seed": arguments.seed,
        "kills": stages.total(),
        "kills_per_stage": {stage: stages[stage] for stage in STAGES},
        "kills_before_a_file_of": dict(lacking.most_common()),
        "kills_per_target": {target: targets[target] for target in TARGETS},
        "mismatches": mismatches,
        "seconds": round(time.monotonic() - began, 1),
    }
    _say(json.dumps(counts))
    sys.exit(1 if mismatches else 0)


if __name__ == "__main__":
    main()
