"""Cosines between tasks from compressed gradients, against those of whole ones (Table 16)."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.style import FULL_WIDTH, GROUP_COLOURS, LINE, MUTED, axes_at, headed_figure, styled
from training.errors import InputError, MissingInput
from training.run_directory import ReportDirectory, read_json

KINDS = {"sketch": "sketches of this run", "stride": "every fifth entry (paper)"}

# Layout in inches.
LEFT = 0.6
BOTTOM = 0.45
SIDE = 2.7
ACROSS = 0.55

SENTENCE = (
    "A point for each pair of tasks, of the same calibration examples at the start. On the line compression changes "
    "nothing. MAE: mean absolute error."
)


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """One panel for the run's sketches and one for the paper's compression, on one scale.

    Raises:
        MissingInput: calibration was not measured, or without whole gradients.
        InputError: the file of the cosines is damaged.
    """
    fidelity = fidelity_of(directory)
    full, *compressed = _cosines(directory)
    figure = headed_figure(FULL_WIDTH, BOTTOM + SIDE + 0.25, "Cosines from compressed gradients", SENTENCE)
    everything = np.concatenate([full, *compressed])
    margin = 0.06 * float(np.ptp(everything)) or 0.1
    limits = everything.min() - margin, everything.max() + margin
    for number, (values, (kind, name)) in enumerate(zip(compressed, KINDS.items(), strict=True)):
        axes = axes_at(figure, LEFT + number * (SIDE + ACROSS), BOTTOM, SIDE, SIDE)
        axes.plot(limits, limits, color=LINE, linewidth=0.8, zorder=1)
        colour, size = GROUP_COLOURS[number], 4 if len(full) < 100 else 2
        axes.plot(full, values, "o", color=colour, markersize=size, markeredgewidth=0, alpha=0.8, zorder=2)
        axes.set(xlim=limits, ylim=limits, xlabel="cosine of whole gradients")
        axes.set_ylabel("cosine of compressed gradients" if number == 0 else "")
        axes.set_title(f"{name}, MAE {fidelity[kind]['mean_absolute']:.4f}", loc="left", size="medium", color=MUTED)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def fidelity_of(directory: ReportDirectory) -> dict:
    """What the report says of compression.

    Raises:
        MissingInput: calibration was not measured, or without whole gradients.
    """
    path = directory.values("calibration")
    fidelity = read_json(path)["result"]["fidelity"]
    if fidelity is None:
        raise MissingInput(f"{path} holds no whole gradients; run python -m diagnostics with --set calibration.tasks=8")
    return fidelity


def _cosines(directory: ReportDirectory) -> list[NDArray[np.float64]]:
    path = directory.arrays("calibration")
    try:
        with np.load(path) as file:
            return [file[f"{kind}_cosines"] for kind in ("full", *KINDS)]
    except FileNotFoundError:
        raise MissingInput(f"{path} is missing; run python -m diagnostics again") from None
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}); remove it and run python -m diagnostics again") from None
