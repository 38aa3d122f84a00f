"""Loss left on sharp and flat directions by merging and by joint training, over the steps."""

import numpy as np
from matplotlib.figure import Figure

from figures.model_rows import COLOURS
from figures.simulation.findings import found, intervals, predicted
from figures.simulation.intervals import mean_intervals
from figures.simulation.panels import Row, panels
from figures.simulation.series import Series
from figures.simulation.value_axes import logarithmic, tried, written
from figures.simulation_result import SimulationResult
from figures.style import GROUP_COLOURS, INK, LINE, styled

DASHED = (0.0, (3.0, 2.0))
HESSIANS = ("shared Hessian", "own Hessians")
MODELS = (
    Series("merged", COLOURS["merged"], "o"),
    Series("joint at equal steps", COLOURS["joint-equal-steps"], "", DASHED),
    Series("joint at equal tokens", COLOURS["joint"], "D"),
    Series("branch", INK, "s"),
)
"""In the order of the arrays."""

PARTS = {
    "loss on the sharp subspace over its mean at the start": "loss on sharp directions",
    "loss outside over its mean at the start": "loss on the other directions",
}
FLOOR = 1e-9
"""Shares of the loss below this are left out; on the way to rounding nothing else happens."""

GAIN = "share of the gain that lies on the sharp subspace, shared Hessian"
CROSS = "cross term over the sum of both parts, merged"
TOKENS = "merged loss over that of joint training at equal tokens"
CELLS = {
    ("shared Hessian", "sharpest eigenvectors"): Series("shared, eigenvectors", GROUP_COLOURS[0], "o"),
    ("own Hessians", "sharpest eigenvectors"): Series("own, eigenvectors", GROUP_COLOURS[3], "s"),
    ("shared Hessian", "leading gradient axes"): Series("shared, gradient axes", GROUP_COLOURS[0], "o", DASHED),
    ("own Hessians", "leading gradient axes"): Series("own, gradient axes", GROUP_COLOURS[3], "s", DASHED),
}


@styled()
def draw(result: SimulationResult) -> Figure:
    """Loss by steps within the span of the sharpest eigenvectors and outside, with a shared Hessian and with own ones.

    Raises:
        InputError: the result lacks a finding that is drawn.
    """
    rows = [
        *(
            Row(
                [f"{name}, {hessian}" for hessian in HESSIANS],
                1.35,
                MODELS if number == 0 else (),
                [predicted(result, finding)],
            )
            for number, (finding, name) in enumerate(PARTS.items())
        ),
        Row(
            [
                "share of the gain on sharp directions",
                "cross term of the merged loss",
                "merged over joint, equal tokens",
            ],
            1.1,
            tuple(CELLS.values()),
            [predicted(result, name) for name in (GAIN, CROSS, TOKENS)],
            gap=0.5,
        ),
    ]
    figure, (sharp, flat, (gain, cross, tokens)) = panels(
        "What merging and joint training leave on sharp and flat directions",
        "Sharp directions: the sharpest eigenvectors of the mean Hessian, below also the leading gradient axes. Losses "
        f"are over their mean at the start, down to {written(FLOOR)}; the cross term is over the sum of both parts. "
        "Bands: 95 % intervals over mixtures.",
        rows,
    )
    steps = result.arrays["steps"]
    for part, row in enumerate((sharp, flat)):
        for hessian, axes in enumerate(row):
            losses = result.arrays["losses"][hessian, 0, :, part] / result.arrays["start"][hessian, 0, part].mean()
            for series, own in zip(MODELS, losses, strict=True):
                series.curve(axes, steps, mean_intervals(own.T))
            logarithmic(axes, "y")
            tried(axes, steps)
            lowest = np.mean(losses, axis=1).min()
            axes.set_ylim(bottom=max(FLOOR, lowest / 2), top=2)
            axes.set_xlabel("steps τ of a branch")
        row[0].set_ylabel("loss over that of the start")
    shown = list(found(result, GAIN))
    told = [int(key.removesuffix(" steps")) for key in shown]
    Series("", GROUP_COLOURS[0]).curve(gain, told, intervals(result, GAIN, shown))
    for (hessian, subspace), series in CELLS.items():
        cell = f"{hessian}, {subspace}"
        series.curve(cross, told, intervals(result, CROSS, [(cell, key) for key in shown]))
        if subspace == "sharpest eigenvectors":
            series.curve(tokens, told, intervals(result, TOKENS, [(hessian, key) for key in shown]))
    gain.set_ylim(-0.03, 1.05)
    logarithmic(tokens, "y")
    tokens.axhline(1, color=LINE, linewidth=0.8, zorder=0)
    for axes in (gain, cross, tokens):
        tried(axes, told)
        axes.set_xlabel("steps τ of a branch")
    return figure
