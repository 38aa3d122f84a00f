"""How sharply the loss bends: the Hessian's largest eigenvalues, and the curvature along other directions."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.style import FULL_WIDTH, GROUP_COLOURS, INK, LINE, axes_at, headed_figure, styled
from training.run_directory import ReportDirectory, read_json

# Layout in inches.
LEFT = 1.35
BOTTOM = 0.42
TOP = 0.25
ROW = 0.17
GAP = 0.3
RIGHT = 0.15
DENSITY = 1.2
DENSITY_GAP = 0.6

LINEAR_SHARE = 1e-3
"""Share of the largest eigenvalue below which the axis is linear, so that zero and both signs have a place."""
DENSITY_SHARE = 1e-7
"""Share of the highest density down to which it is drawn."""
TITLES = {"chosen": "all chosen parameters", "without-norms": "without one-dimensional ones"}
SENTENCE = (
    "Eigenvalues of the start's Hessian in order of magnitude, with error bars; hollow ones have not converged. Below "
    "them uᵀHu along unit directions: conflict axes, what each branch moved by, and a random vector. In nats per "
    "answer token and squared unit of the parameters, on an axis that is linear around zero and logarithmic beyond."
)


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """One panel for each set of parameters, and the density of all eigenvalues under it where that was measured.

    Raises:
        InputError: alignment was not measured.
    """
    sets = read_json(directory.values("alignment"))["result"]["sets"]
    with np.load(directory.arrays("alignment")) as file:
        arrays = {name: file[name] for name in file.files}
    peak = max((values.max() for name, values in arrays.items() if name.endswith("_density")), default=0.0)
    below = DENSITY + DENSITY_GAP if peak > 0 else 0.0
    rows = max(len(_rows(found)) for found in sets)
    height = BOTTOM + below + ROW * (rows + 1) + TOP
    figure = headed_figure(FULL_WIDTH, height, "Curvature at the start", SENTENCE)
    width = (FULL_WIDTH - LEFT - RIGHT - (len(sets) - 1) * GAP) / len(sets)
    for number, found in enumerate(sets):
        left = LEFT + number * (width + GAP)
        panel = axes_at(figure, left, BOTTOM + below, width, ROW * (rows + 1))
        _draw_rows(panel, found, named=number == 0)
        panel.set_ylim(0.3 - rows, 0.7)
        panel.set_title(TITLES[found["name"]], size="medium", color=INK, loc="left")
        if peak > 0:
            density = axes_at(figure, left, BOTTOM, width, DENSITY)
            _draw_density(density, *(arrays[f"{found['name']}_{key}"] for key in ("grid", "density", "density_error")))
            _scale_density(density, peak, named=number == 0)
    return figure


def _rows(found: dict[str, Any]) -> list[tuple[str, float, float, str, bool]]:
    """Name, value, error bar, colour and whether it is sure, from the top row down."""
    spectrum = found["spectrum"]
    entries = zip(spectrum["values"], spectrum["error_bars"], spectrum["converged"], strict=True)
    rows = [(f"eigenvalue {rank}", value, bar, INK, sure) for rank, (value, bar, sure) in enumerate(entries, start=1)]
    for colour, axes in zip(GROUP_COLOURS, found["axes"], strict=False):
        for number, direction in enumerate(axes["directions"], start=1):
            rows.append((f"{axes['name']} {number}", direction["curvature"]["value"], 0.0, colour, True))
    moved = [(entry["branch"], entry["curvature"]["value"], 0.0, GROUP_COLOURS[2], True) for entry in found["branches"]]
    return [*rows, *moved, ("random vector", found["random_direction"]["value"], 0.0, LINE, True)]


def _draw_rows(panel: Axes, found: dict[str, Any], named: bool) -> None:
    rows = _rows(found)
    largest = max(abs(value) for _, value, _, _, _ in rows)
    linear = LINEAR_SHARE * largest
    panel.set_xscale("symlog", linthresh=linear, linscale=0.5)
    panel.axvline(0, color=LINE, linewidth=0.8, zorder=0)
    for row, (_, value, bar, colour, sure) in enumerate(rows):
        panel.plot([0, value], [-row, -row], color=colour, linewidth=0.8)
        panel.errorbar(
            value,
            -row,
            xerr=bar,
            color=colour,
            marker="o",
            markersize=3.5,
            markerfacecolor=colour if sure else "none",
            elinewidth=1.2,
            capsize=1.5,
        )
    panel.set_yticks([-row for row in range(len(rows))], [row[0] if named else "" for row in rows])
    panel.tick_params(axis="y", length=0)
    panel.spines[["top", "right", "left"]].set_visible(False)
    signed = any(value < 0 for _, value, _, _, _ in rows)
    ticks = _ticks(linear, largest, signed)
    panel.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
    panel.minorticks_off()
    if not signed:
        panel.set_xlim(left=-linear / 2)
    panel.set_xlabel("curvature")


def _ticks(linear: float, largest: float, signed: bool) -> list[float]:
    """Zero and powers of ten, of both signs if ``signed``, every other one where there are many."""
    first, last = math.ceil(math.log10(linear)), math.floor(math.log10(largest))
    powers = [10.0**power for power in range(last, first - 1, -2 if last - first > 1 else -1)]
    return [-power for power in powers if signed] + [0.0] + powers[::-1]


def _draw_density(panel: Axes, grid: NDArray[Any], density: NDArray[Any], error: NDArray[Any]) -> None:
    lowest = density[density > 0].min()
    panel.fill_between(grid, np.maximum(density - error, lowest), density + error, color=LINE, linewidth=0)
    panel.plot(grid, np.maximum(density, lowest), color=INK)


def _scale_density(panel: Axes, peak: float, named: bool) -> None:
    panel.set_yscale("log")
    panel.set_ylim(DENSITY_SHARE * peak, 3 * peak)
    highest = math.floor(math.log10(peak))
    ticks = [10.0**power for power in range(highest, highest + round(math.log10(DENSITY_SHARE)), -2)]
    panel.set_yticks(ticks, [f"{tick:g}".replace("-", "−") if named else "" for tick in ticks])
    panel.minorticks_off()
    panel.set_xlabel("eigenvalue")
    panel.spines[["top", "right"]].set_visible(False)
    if named:
        panel.set_ylabel("density of eigenvalues")
