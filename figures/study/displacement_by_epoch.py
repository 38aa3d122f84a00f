"""How far joint training and merged models move, and how well they do, by epochs of training (Tables 1 and 7)."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.names import shortened
from figures.study.trained_epochs import Trained, trained_by_epoch
from figures.style import FULL_WIDTH, GROUP_COLOURS, GROUP_MARKERS, MUTED, axes_at, headed_figure, styled
from training.run_directory import RunDirectory

SENTENCE = (
    "Left: distance of the model from the start. Right: loss on held-out questions (solid, with 95 % intervals over "
    "test items), mean over tasks; and training loss over the last tenth of the steps (dashed), per answer token, of "
    "the branches and not of the merged model. The two average differently: compare their trends, not their levels."
)

LONGEST_NAME = 10

# Layout in inches.
LEFT = 0.6
BOTTOM = 0.45
GAP = 0.6
WIDTH = 2.2
HEIGHT = 2.3


@styled()
def draw(runs: Sequence[RunDirectory]) -> Figure:
    """Displacement and losses by epoch, a colour for each method of each set of runs that differ in epochs alone.

    Raises:
        MissingInput: no arm was trained for different numbers of epochs.
        InputError: a file is damaged.
    """
    curves = _curves(runs)
    height = max(HEIGHT, 0.17 * len(curves) + 0.7)
    figure = headed_figure(FULL_WIDTH, BOTTOM + height + 0.1, "Displacement and loss by epochs of training", SENTENCE)
    moved = axes_at(figure, LEFT, BOTTOM, WIDTH, height)
    losses = axes_at(figure, LEFT + WIDTH + GAP, BOTTOM, WIDTH, height)
    handles = []
    for number, (label, points) in enumerate(curves.items()):
        colour, marker = GROUP_COLOURS[number % len(GROUP_COLOURS)], GROUP_MARKERS[number % len(GROUP_MARKERS)]
        _draw_curve(moved, losses, points, colour, marker)
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=3.6, label=label))
    moved.set_ylabel("‖θ − θ⁰‖")
    losses.set_ylabel("nats per answer token")
    for axes in (moved, losses):
        axes.set_xlabel("epochs")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(left=0)
    moved.set_ylim(bottom=0)
    styles = [
        Line2D([], [], color=MUTED, label="held-out loss"),
        Line2D([], [], color=MUTED, linestyle=(0, (3, 2)), label="training loss"),
    ]
    losses.legend(handles=handles + styles, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    return figure


def _curves(runs: Sequence[RunDirectory]) -> dict[str, list[Trained]]:
    """Points of each method of each set, named by the set's first run where there are several sets."""
    found = trained_by_epoch(runs)
    curves: dict[str, list[Trained]] = {}
    for alike, arms in found:
        of = f", {shortened(alike[0].root.resolve().name, LONGEST_NAME)}" if len(found) > 1 else ""
        for trained in arms:
            curves.setdefault(f"{trained.method}{of}", []).append(trained)
    return curves


def _draw_curve(moved: Axes, losses: Axes, points: Sequence[Trained], colour: str, marker: str) -> None:
    epochs = [point.epochs for point in points]
    values = [point.loss["value"] for point in points]
    moved.plot(epochs, [point.displacement for point in points], color=colour, marker=marker, markersize=3.6)
    losses.plot(epochs, values, color=colour, marker=marker, markersize=3.6)
    low, high = ([point.loss[end] for point in points] for end in ("low", "high"))
    losses.vlines(epochs, low, high, color=colour, linewidth=0.8)
    known = [(point.epochs, point.training_loss) for point in points if point.training_loss is not None]
    if known:
        losses.plot(
            *zip(*known, strict=True),
            color=colour,
            marker=marker,
            markersize=2.6,
            markerfacecolor="none",
            linestyle=(0, (3, 2)),
        )
