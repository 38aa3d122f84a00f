"""Loss of every arm in every seed (Tables 8 and 9)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from figures.arm_families import by_family
from figures.cells import number_cell
from figures.origin import PAPER_VISION
from figures.recorded import arms_of
from figures.study.settings import alike_but_for, common_origin, setting
from figures.table import MISSING, Block, Table
from training.errors import InputError, MissingInput
from training.run_directory import RunDirectory, read_json

PAPERS_P = "0.03125"


def tabulate(runs: Sequence[RunDirectory]) -> Table:
    """A row for each arm and a column for each seed, from runs alike but for their seed.

    The test against joint training is that of a file that ``training compare --json`` wrote into or beside a run.

    Raises:
        MissingInput: a run has not ended, or no two runs differ in their seed alone.
    """
    sets = [alike for alike in alike_but_for(runs, "seed") if len(alike) > 1]
    if not sets:
        raise MissingInput(
            "no two runs differ in their seed alone; make them with --set seed=1 and others, and give each with --run"
        )
    seeds = sorted({setting(run, "seed") for alike in sets for run in alike})
    tested, note = False, "Loss in nats per answer token on held-out questions, mean over tasks; std: n − 1."
    blocks = []
    for alike in sets:
        tests = _tests(alike)
        tested |= bool(tests)
        blocks.append(Block(common_origin(alike), _rows(alike, seeds, tests)))
    note += " p: one-sided Wilcoxon test over the seeds that the arm has a lower loss than joint training"
    note += (
        ", from the file of training compare that names these runs, not corrected for the number of arms."
        if tested
        else "; python -m training compare RUN RUN … --arm ARM --against joint --json RUN/compare.json gives it for "
        "five runs or more, with intervals over seeds and items."
    )
    dashes = [MISSING] * (len(seeds) + 2)
    blocks.append(Block(f"{PAPER_VISION}; five seeds", [["MERIT", *dashes, PAPERS_P]]))
    columns = ["arm", *(f"seed {seed}" for seed in seeds), "mean", "std", "p against joint"]
    return Table("Loss in every seed", note, columns, blocks)


def _rows(runs: Sequence[RunDirectory], seeds: Sequence[int], tests: dict[str, float]) -> list[list[str]]:
    arms = {setting(run, "seed"): arms_of(run) for run in runs}
    names = dict.fromkeys(name for own in arms.values() for name in own)
    rows = []
    for name in (name for family in by_family(names).values() for name in family):
        losses = {seed: own[name]["loss"]["value"] for seed, own in arms.items() if name in own}
        values = np.array(list(losses.values()))
        rows.append(
            [
                name,
                *(number_cell(losses.get(seed), 3) for seed in seeds),
                number_cell(values.mean(), 3),
                number_cell(values.std(ddof=1) if len(values) > 1 else None, 3),
                f"{tests[name]:.5f}".rstrip("0") if name in tests else MISSING,
            ]
        )
    return rows


def _tests(runs: Sequence[RunDirectory]) -> dict[str, float]:
    """One-sided p-values against joint training by arm, of comparisons over exactly these runs."""
    names = {run.root.resolve().name for run in runs}
    folders = dict.fromkeys(folder for run in runs for folder in (run.root.resolve().parent, run.root.resolve()))
    found: dict[str, float] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        written = _comparison(path)
        if written is None or {Path(run).name for run in written["runs"]} != names:
            continue
        found |= {
            row["arm"]: row["signed_rank"]["p_value"]
            for row in written["rows"]
            if row["against"] == "joint" and row["signed_rank"] is not None
        }
    return found


def _comparison(path: Path) -> dict[str, Any] | None:
    """What a file holds, if it is a comparison of losses."""
    try:
        values = read_json(path)
    except InputError:
        return None
    whole = isinstance(values, dict) and {"metric", "runs", "rows"} <= values.keys()
    return values if whole and values["metric"] == "loss" else None
