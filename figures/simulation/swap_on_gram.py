"""What exchanging tasks on the Gram matrix saves of the merged loss, by noise, epochs, rate and sampling."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.model_rows import stripe
from figures.simulation.findings import found, intervals, predicted
from figures.simulation.panels import Row, panels
from figures.simulation.series import Series
from figures.simulation.value_axes import tried
from figures.simulation_result import SimulationResult
from figures.style import GROUP_COLOURS, GROUP_MARKERS, INK, LINE, MARGIN, TEXT_SIZE, styled, text_width

DASHED = (0.0, (3.0, 2.0))
LINES: tuple[Literal["-", ":"] | tuple[float, tuple[float, float]], ...] = ("-", DASHED, ":")
HUES = (GROUP_COLOURS[0], GROUP_COLOURS[1], GROUP_COLOURS[3], GROUP_COLOURS[2])
SAVED = "share of the random split's merged loss saved by swaps on K₀, {}"
SAMPLINGS = ("with replacement", "reshuffled")
LEFT_OVER = "saving by swaps, reshuffled over with replacement"
OF_PCA = "saving by PCA of cosines over saving by swaps, with replacement"
GAIN = "gain of the swapped split over the random split's, with replacement"
OVER_JOINT = "swapped merge over joint, {}, reshuffled"
JOINTS = ("equal steps, batch 1", "equal tokens, batch 1", "equal steps and tokens, batch 2")
VARIANCE = "gradient variance within groups over that of all tasks"
STRATIFIED = "stratified joint training over the merge of the swapped split"


@styled()
def draw(result: SimulationResult) -> Figure:
    """Savings, ratios of gains and losses over joint training as curves over η, and the control below.

    Raises:
        InputError: the result lacks a finding that is drawn.
    """
    settings = {
        f"noise {noise:g}, {epochs} epochs": Series(
            f"noise {noise:g}, {epochs} epoch{'s' if epochs > 1 else ''}",
            HUES[j % len(HUES)],
            GROUP_MARKERS[i % len(GROUP_MARKERS)],
            LINES[i % len(LINES)],
        )
        for i, noise in enumerate(result.arrays["noise_to_signal"])
        for j, epochs in enumerate(result.arrays["epochs"])
    }
    saved = [(SAVED.format(sampling), f"saved, {sampling}", 0.0) for sampling in SAMPLINGS]
    saved.append((LEFT_OVER, "saved, ratio of both", 1.0))
    compared = [
        (OF_PCA, "saved by PCA of cosines over by swaps", 1.0),
        (GAIN, "gain of swapped over random split", 1.0),
    ]
    over_joint = [(OVER_JOINT.format(joint), f"swapped merge over joint, {joint}", 1.0) for joint in JOINTS]
    splits = list(found(result, VARIANCE))
    left = MARGIN + max(text_width(name, TEXT_SIZE) for name in (*splits, *SAMPLINGS)) + 0.12
    rows = [
        Row([title for _, title, _ in saved], 1.15, tuple(settings.values()), _told(result, saved), gap=0.5),
        Row([title for _, title, _ in compared], 1.0, (), _told(result, compared)),
        Row([title for _, title, _ in over_joint], 1.15, (), _told(result, over_joint), gap=0.5),
        Row(
            ["gradient variance within groups", "joint on stratified batches over the merge"],
            0.17 * len(splits),
            (),
            [str(predicted(result, name)) for name in (VARIANCE, STRATIFIED)],
            left=left,
            gap=1.15,
        ),
    ]
    figure, (*curves, (variance, stratified)) = panels(
        "Splits that exchange tasks on the Gram matrix of raw gradients, K₀",
        "SGD with one Hessian, two branches; saved: the share of the random split's merged loss that the split after "
        "swaps does not have. Noise: variance of examples within a task over that between tasks. Joint training on "
        "batches stratified by the groups should do as well as the merge. Bands and bars: 95 % intervals over draws.",
        rows,
    )
    for findings, own in zip((saved, compared, over_joint), curves, strict=True):
        for (name, _, level), axes in zip(findings, own, strict=True):
            _draw_settings(axes, result, name, settings)
            axes.axhline(level, color=LINE, linewidth=0.8, zorder=0)
    _draw_rows(variance, result, VARIANCE, splits)
    variance.set_xlabel("over the variance of all tasks")
    _draw_rows(stratified, result, STRATIFIED, SAMPLINGS)
    stratified.axvline(1, color=LINE, linewidth=0.8, zorder=0)
    stratified.set_xlabel("ratio of losses")
    return figure


def _told(result: SimulationResult, findings: Sequence[tuple[str, str, float]]) -> list[str]:
    return [str(predicted(result, name)) for name, *_ in findings]


def _draw_settings(axes: Axes, result: SimulationResult, name: str, settings: dict[str, Series]) -> None:
    """A finding over learning rates, one curve for each noise level and number of epochs."""
    rates = result.arrays["learning_rates"]
    for setting, series in settings.items():
        series.curve(axes, rates, intervals(result, name, [f"{setting}, η = {rate:g}" for rate in rates]))
    tried(axes, rates)
    axes.set_xlabel("learning rate η")


def _draw_rows(axes: Axes, result: SimulationResult, name: str, keys: Sequence[str]) -> None:
    places = np.arange(len(keys))
    Series("", INK, line="").row(axes, places, intervals(result, name, keys))
    stripe(axes, len(keys))
    axes.set_yticks(places, keys)
