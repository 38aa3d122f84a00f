"""Which layers moved, in which models, and whether the branches moved them the same way."""

import itertools
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import (
    FULL_WIDTH,
    GROUP_COLOURS,
    LINE,
    MARGIN,
    MUTED,
    TEXT_SIZE,
    axes_at,
    headed_figure,
    styled,
    text_width,
)
from training.run_directory import ReportDirectory, read_json

COLOURS = {"merged": GROUP_COLOURS[0], "joint": GROUP_COLOURS[1], "joint-equal-steps": GROUP_COLOURS[5]}
MARKERS = {"merged": "o", "joint": "D", "joint-equal-steps": "d"}
MOST_TICKS = 12

# Layout in inches.
LEFT = 0.55
BOTTOM = 0.42
NORM_HEIGHT = 1.8
AGREEMENT_HEIGHT = 0.95
BETWEEN = 0.16
ABOVE = 0.26
APART = 0.2

SENTENCE = (
    "Top: length of the displacement from the start within each layer. Bottom: mean cosine between the branches' "
    "displacements there; at 1 they move together, at 0 each goes its own way and averaging shortens both, below 0 "
    "they undo each other."
)


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """Norms by layer of the branches, the merged model and joint training, over the branches' agreement.

    What stands before and after the layers (embeddings, the last norm, an untied head) has a place of its own, not
    joined to them.
    """
    result = read_json(directory.values("displacement"))["result"]
    parts = result["layers"]
    width = FULL_WIDTH - LEFT - MARGIN
    places = _places([part["name"] for part in parts], width)
    height = BOTTOM + AGREEMENT_HEIGHT + BETWEEN + NORM_HEIGHT + ABOVE
    figure = headed_figure(FULL_WIDTH, height, "Where in the network the models moved", SENTENCE)
    agreement = axes_at(figure, LEFT, BOTTOM, width, AGREEMENT_HEIGHT)
    norms = axes_at(figure, LEFT, BOTTOM + AGREEMENT_HEIGHT + BETWEEN, width, NORM_HEIGHT)

    models = [model for model in result["norms"] if model != "average"]
    for model in sorted(models, key=lambda model: model in COLOURS):
        values = np.sqrt([part["squared_norms"][model] for part in parts])
        _draw_profile(norms, parts, places, values, COLOURS.get(model, MUTED), MARKERS.get(model, ""), _label(model))
    cosines = np.array([np.nan if part["agreement"] is None else part["agreement"] for part in parts])
    _draw_profile(agreement, parts, places, cosines, GROUP_COLOURS[2], "s", "")
    agreement.axhline(0, color=LINE, linewidth=0.6, zorder=0)
    lowest = min(0.0, *cosines[np.isfinite(cosines)]) if np.isfinite(cosines).any() else 0.0
    agreement.set(ylim=(1.15 * lowest - 0.1, 1.1), ylabel="agreement")
    norms.set(ylim=(0, None), ylabel="‖δ‖ in the layer")

    shown = _ticks(parts)
    for axes in (norms, agreement):
        axes.set(xlim=(0, width))
        axes.set_xticks(places[shown], [""] * len(shown))
        axes.spines[["top", "right"]].set_visible(False)
    agreement.set_xticklabels([_short(parts[number]["name"]) for number in shown])
    agreement.set_xlabel("layer")
    norms.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderaxespad=0.2, handlelength=2.0)
    return figure


def _draw_profile(
    axes: Axes,
    parts: list[dict[str, Any]],
    places: np.ndarray,
    values: np.ndarray,
    colour: str,
    marker: str,
    label: str,
) -> None:
    """A line through the layers of each stack, and a mark for everything that is no layer of one."""
    for stack, members in itertools.groupby(range(len(parts)), key=lambda number: _stack(parts[number]["name"])):
        chosen = list(members)
        axes.plot(
            places[chosen],
            values[chosen],
            color=colour,
            linewidth=0.7 if colour == MUTED else 1.1,
            linestyle="-" if stack else "",
            marker=marker or ("" if stack else "_"),
            markersize=3 if marker else 6,
            label=label if stack else "",
            clip_on=False,  # what lies at zero keeps its marks whole
        )
        label = "" if stack else label


def _places(names: list[str], width: float) -> np.ndarray:
    """Horizontal place of each part in inches: as much room as its name needs for what is no layer, the rest to layers.

    float64 [parts].
    """
    own = np.array([0.0 if _stack(name) else text_width(_short(name), TEXT_SIZE) + APART for name in names])
    layers = np.count_nonzero(own == 0)
    widths = np.where(own > 0, own, max(width - own.sum(), 0.2 * width) / max(layers, 1))
    widths *= width / widths.sum()
    return np.cumsum(widths) - widths / 2


def _ticks(parts: list[dict[str, Any]]) -> list[int]:
    """Parts whose names are shown: all that are no layers, and layers at even distances."""
    layers = sum(bool(_stack(part["name"])) for part in parts)
    every = next(step for step in (1, 2, 5, 10, 20, 50, 100) if layers / step <= MOST_TICKS or step == 100)
    return [
        number
        for number, part in enumerate(parts)
        if not _stack(part["name"]) or int(_short(part["name"])) % every == 0
    ]


def _stack(name: str) -> str:
    """What a layer's name holds before its number; empty for what is no layer."""
    stack, _, number = name.rpartition(".")
    return stack if number.isdigit() else ""


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _label(model: str) -> str:
    """Branches share one entry of the legend."""
    return {"branch-1": "branches"}.get(model, "" if model.startswith("branch-") else model)
