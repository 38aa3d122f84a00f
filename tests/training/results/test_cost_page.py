from typing import Any

import pytest

from training.results.cost import (
    BranchCost,
    Cost,
    CostTable,
    Crossover,
    JointTraining,
    ModelSize,
    arm_cost,
    computed,
    measured,
    pcgrad,
)
from training.results.cost_page import COLUMNS, cost_section, crossover_line, figure

MODEL = ModelSize(10**8, 2 * 10**8, 2 * 10**8, 10**7, 4 * 10**8)
JOINT = JointTraining("joint", 3, measured(60.0, "done.json"), measured(10**9, "done.json"), [2, 4, 3])
BRANCHES = [BranchCost(20.0, 7 * 10**8, 10**8), BranchCost(31.27, 6 * 10**8, 10**8)]
ARM = arm_cost("m", MODEL, BRANCHES, None, measured(5, "micro-batches"))
TABLE = CostTable(
    MODEL,
    (ARM, pcgrad(JOINT, MODEL, 2)),
    (Crossover("m", "joint", 2, "below", 1.25e8, 1.25e6),),
    {"merge": measured(2.92, "merge stage")},
    computed(2 * 10**8, "peak − states"),
    "a processor",
)


def cells(lines: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


@pytest.mark.parametrize(
    ("cost", "unit", "shown"),
    [
        (None, 1, "–"),
        (measured(67.596, "f"), 1, "67.6"),
        (measured(48, "f"), 1, "48"),
        (measured(1234.5, "f"), 1, "1,234"),
        (measured(4_372_836_352, "f"), 1e9, "4.37"),
        (computed(4_372_836_352, "f"), 1e9, "*≈ 4.37*"),
        (computed(126, "f"), 1, "*126*"),
        (computed(68.5, "f", at_least=True), 1, "*≥ 68.5*"),
    ],
)
def test_computed_figures_never_look_like_measured_ones(cost: Cost | None, unit: float, shown: str) -> None:
    assert figure(cost, unit) == shown


def test_every_row_has_every_column_and_says_what_was_measured() -> None:
    lines = cost_section(TABLE)
    head, _, arm, theirs, *stages = cells(lines)
    assert head == ["method", "machines", *(title for title, _, _ in COLUMNS)]
    assert arm == ["m", "2", "*≈ 0.4*", "*≈ 0.2*", "*1*", "0.7", "31.3", "51.3", "–", "5"]
    assert theirs == ["PCGrad", "2", "*≈ 3.9*", "*≈ 2*", "*3*", "*≈ 1.8*", "*≥ 30*", "*≥ 60*", "*≥ 30*", "*6*"]
    assert stages[2:] == [["merge", "2.92"]]
    page = "\n".join(lines)
    assert "a processor" in page
    assert crossover_line(TABLE.crossovers[0]) in page
    assert lines[-1] == ""


def test_a_run_without_training_has_its_stages_alone() -> None:
    lines = cost_section(CostTable(None, (), (), TABLE.stage_seconds, None, "a processor"))
    assert lines[0] == "## Cost"
    assert len(cells(lines)) == 3


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        (
            {},
            "less than 1.0 Gbit/s; below 10 Mbit/s even if all its communication were hidden behind computation.",
        ),
        ({"slower": "above", "slower_even_hidden_below": None}, "more than 1.0 Gbit/s."),
        ({"slower": "never", "bytes_per_second": None, "slower_even_hidden_below": None}, "at no network speed."),
        ({"slower": "always", "bytes_per_second": None, "slower_even_hidden_below": None}, "at any network speed."),
    ],
)
def test_a_crossover_is_told_in_bits_per_second(changes: dict[str, Any], end: str) -> None:
    values = {"slower": "below", "bytes_per_second": 1.25e8, "slower_even_hidden_below": 1.25e6} | changes
    line = crossover_line(Crossover("m", "joint", 2, **values))
    assert line.startswith("joint, data-parallel over 2 machines, would take longer than m ")
    assert line.endswith(end)
