"""The cost table as a person reads it: Markdown in which what was computed does not look like what was measured."""

from collections.abc import Callable

from training.markdown_table import markdown_table
from training.results.cost import Cost, CostTable, Crossover, MethodCost

GIGABYTE = 1e9
COLUMNS: tuple[tuple[str, Callable[[MethodCost], Cost | None], float], ...] = (
    ("exchanged GB", lambda row: row.exchanged_bytes, GIGABYTE),
    ("GB per machine", lambda row: row.machine_bytes, GIGABYTE),
    ("synchronisations", lambda row: row.synchronisations, 1),
    ("peak memory GB", lambda row: row.peak_memory_bytes, GIGABYTE),
    ("training s", lambda row: row.training_seconds, 1),
    ("machine s", lambda row: row.machine_seconds, 1),
    ("to the model s", lambda row: row.seconds_to_model, 1),
    ("more backward passes", lambda row: row.extra_backward_passes, 1),
)
"""Title, figure, and the unit that it is divided by."""


def cost_section(table: CostTable) -> list[str]:
    """Lines of the section, with an empty one at its end."""
    lines = ["## Cost", ""]
    if table.methods:
        head = ["method", "machines", *(title for title, _, _ in COLUMNS)]
        lines += markdown_table(head, [_row(row) for row in table.methods])
        lines += ["", _legend(table), ""]
        lines += [f"- {crossover_line(found)}" for found in table.crossovers]
        lines += [""] if table.crossovers else []
    if table.stage_seconds:
        stages = [[stage, figure(seconds)] for stage, seconds in table.stage_seconds.items()]
        lines += [*markdown_table(["stage of the run, all its starts", "seconds"], stages), ""]
    return lines


def figure(cost: Cost | None, unit: float = 1) -> str:
    """Three significant digits; what was computed in italics, with ≈ or ≥ unless it is a count.

    >>> figure(Cost(1234.5678, "measured", "done.json")), figure(Cost(2.5e9, "computed", "2 · weights"), 1e9)
    ('1,235', '*≈ 2.5*')
    """
    if cost is None:
        return "–"
    value = cost.value if unit == 1 else cost.value / unit
    text = f"{value:,.0f}" if value >= 1000 or isinstance(value, int) else f"{value:.3g}"
    if cost.how == "measured":
        return text
    if cost.at_least:
        return f"*≥ {text}*"
    return f"*{text}*" if isinstance(value, int) else f"*≈ {text}*"


def crossover_line(found: Crossover) -> str:
    """One comparison as a sentence."""
    if found.bytes_per_second is None:
        where = {"always": "at any network speed", "never": "at no network speed"}[found.slower]
    else:
        side = {"below": "less", "above": "more"}[found.slower]
        where = f"where a machine's link carries {side} than {_speed(found.bytes_per_second)}"
    line = f"{found.joint}, data-parallel over {found.machines} machines, would take longer than {found.arm} {where}"
    if found.slower_even_hidden_below is None:
        return line + "."
    hidden = _speed(found.slower_even_hidden_below)
    return f"{line}; below {hidden} even if all its communication were hidden behind computation."


def _speed(bytes_per_second: float) -> str:
    """Bits per second, as networks are sold."""
    bits = 8 * bytes_per_second
    return f"{bits / 1e9:,.1f} Gbit/s" if bits >= 1e9 else f"{bits / 1e6:,.{0 if bits >= 1e7 else 1}f} Mbit/s"


def _row(row: MethodCost) -> list[str]:
    return [row.method, str(row.machines), *(figure(cost(row), unit) for _, cost, unit in COLUMNS)]


def _legend(table: CostTable) -> str:
    model, rest = table.model, table.rest_bytes
    assert model is not None, "methods have a model"
    assert rest is not None, "methods stand beside joint training"
    sizes = (model.stored, model.weights, model.gradient, model.optimizer, rest.value)
    stored, weights, gradient, optimizer, other = (f"{size / GIGABYTE:.3g}" for size in sizes)
    return (
        "Measured in this run, or *≈ computed* (*≥* where network and arithmetic on gradients are free); the formulas "
        f"are in `cost.json`. Seconds are those of this machine ({table.hardware}), whose cores branches may have "
        "shared. Each branch is taken to have a machine like it: training then takes as long as the longest branch, "
        "and machine seconds are the sum. Bytes are the start to every machine, what is synchronised, and the weights "
        f"back; stored weights take {stored} GB. Joint training's peak holds weights {weights}, gradient {gradient}, "
        f"optimiser state {optimizer} and *≈ {other}* GB of activations and process. To the model adds the conflict "
        "pass, the arm's own merge, and what is fitted or measured for it; the primer, which all methods share, is "
        "left out. PCGrad and GradNorm are computed for "
        "the batches of joint training, with a backward pass for every task in a batch."
    )
