"""Hardware, and wall-clock of each stage (Tables 14 and 15)."""

from collections.abc import Mapping
from typing import Any

from figures.arm_families import Family, family_of
from figures.cells import duration
from figures.origin import PAPER_VISION, origin
from figures.recorded import times_of
from figures.table import Block, Table
from training.run_directory import RunDirectory, read_json

PAPER = [
    ["gradient extraction", "1 h 38 min"],
    ["similarity matrix", "28 min"],
    ["PCA and partition", "0.9 s"],
    ["joint training", "4 h 22 min"],
    ["MERIT-3D", "5 h 24 min"],
]
STAGES = {
    "start": "start: the primer",
    "conflicts": "conflicts: gradients and their cosines",
    "partitions": "partitions: PCA and cuts",
    "branches": "branches: training of all arms",
    "merge": "merge",
}
NOTE = (
    "Ours: stages of the whole run with all its arms, over all its starts where it has a cost.json, on the machine "
    "named; then arms alone, with a machine for each branch (≈: computed from what was measured)."
)


def tabulate(run: RunDirectory) -> Table:
    """Stages of the run, then its joint and its partitioned arms.

    Raises:
        MissingInput: the run has not ended.
    """
    stages, methods = times_of(run)
    rows = [[STAGES.get(stage, stage), duration(seconds)] for stage, seconds in stages.items()]
    rows += [
        [f"{method['method']}, to its model", _time(method["seconds_to_model"])]
        for method in methods
        if method["seconds_to_model"] is not None and _is_shown(method["method"])
    ]
    blocks = [Block(f"{origin(run)}; {_hardware(run)}", rows), Block(PAPER_VISION, PAPER)]
    return Table("Wall-clock by stage", NOTE, ["stage", "wall-clock"], blocks)


def _is_shown(method: str) -> bool:
    """Whether a row of ``cost.json`` is joint training or a partition along axes, as the paper's arms are."""
    return method == "joint" or (family_of(method) is Family.PARTITIONS and method.startswith("merit-"))


def _time(seconds: Mapping[str, Any]) -> str:
    return f"{'' if seconds['how'] == 'measured' else '≈ '}{duration(seconds['value'])}"


def _hardware(run: RunDirectory) -> str:
    environment = read_json(run.environment)
    return f"{environment.get('processor') or 'unknown processor'}, {environment.get('cores', '?')} cores"
