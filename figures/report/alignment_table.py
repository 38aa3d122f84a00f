"""How close conflict directions come to the sharp directions of the loss, and how close chance does (Table 21)."""

import math
from typing import Any

from figures.cells import number_cell
from figures.origin import PAPER_VISION
from figures.report.report_origin import report_origin
from figures.table import MISSING, Block, Table
from training.run_directory import ReportDirectory, read_json

DIGITS = 3
SETS = {"chosen": "all chosen parameters", "without-norms": "without one-dimensional parameters"}
COLUMNS = ("", "random vector", "single task gradient", "raw", "double-centred")
EITHER = "0.133 (either)"
PAPER_ROWS = (("cosine with the sharp space", "5.6e-5", "0.091 ± 0.023", EITHER, EITHER),)
"""Of the conflict direction the paper's summary gives one number, without its centring."""

STATISTICS = (
    ("largest", "max |cosine| with one eigenvector"),
    ("mean_nearest", "mean over directions of the top-1 |cosine|"),
    ("leading", "cosine of the leading principal angle"),
)
NOTE = (
    "Conflict directions are the leading eigenvectors of the tasks' matrix, lifted to parameters: raw from the Gram "
    "matrix, double-centred from the double-centred cosine matrix; the sharp space is that of the largest Hessian "
    "eigenvectors at the start. Random vector and single task gradient: mean ± standard deviation of their cosine with "
    "that space. Ranks: share of random combinations of the same gradients, or of permutations of the tasks' roles, "
    "that lie below; a rank between 0.025 and 0.975 is no closer than chance. z: distance of the cosine from that of "
    "Gaussian vectors in their standard deviations, which any combination of gradients makes large. Either: the "
    "paper's one number, whose centring is not given."
)


def tabulate(directory: ReportDirectory) -> Table:
    """One block for each set of parameters, and the paper's.

    Raises:
        MissingInput: alignment was not measured.
    """
    sets = read_json(directory.values("alignment"))["result"]["sets"]
    origin = report_origin(directory)
    blocks = [
        Block(f"{origin}; {SETS[found['name']]} ({found['entries']:,} entries)", list(_rows(found))) for found in sets
    ]
    return Table(
        "Conflict directions against sharp directions", NOTE, COLUMNS, [*blocks, Block(PAPER_VISION, PAPER_ROWS)]
    )


def _rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    axes = {entry["name"]: entry for entry in found["axes"]}
    pair = [axes["raw"], axes["double-centred"]]
    firsts = [entry["directions"][0] for entry in pair]
    tiers = _spread(found["random_vector"], "{:.1e}"), _spread(found["task_gradient"], f"{{:.{DIGITS}f}}")
    rows = [("cosine of direction 1 with the sharp space", *tiers, *_values(first["eigenspace"] for first in firsts))]
    rows += _ranks("eigenspace", firsts)
    rows.append(("z of direction 1", MISSING, MISSING, *(f"{first['gaussian_z']:,.0f}" for first in firsts)))
    for key, name in STATISTICS:
        rows.append((name, MISSING, MISSING, *_values(entry[key] for entry in pair)))
        rows += _ranks(key, pair)
    angles = [math.degrees(math.acos(min(1.0, entry["leading"]["value"]))) for entry in pair]
    rows.append(("leading principal angle in degrees", MISSING, MISSING, *(number_cell(angle, 1) for angle in angles)))
    return rows


def _values(statistics: Any) -> list[str]:
    return [number_cell(statistic["value"], DIGITS) for statistic in statistics]


def _ranks(key: str, entries: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    nulls = (("span", "  its rank among random combinations"), ("permutation", "  its rank among permuted roles"))
    return [
        (name, MISSING, MISSING, *(number_cell(entry[key][null]["rank"], DIGITS) for entry in entries))
        for null, name in nulls
    ]


def _spread(spread: dict[str, float], style: str) -> str:
    return f"{style.format(spread['mean'])} ± {style.format(spread['deviation'])}"
