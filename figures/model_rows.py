"""What models look like, and rows to compare them in."""

from matplotlib.axes import Axes

from figures.style import FAINT, GROUP_COLOURS, INK

COLOURS = {
    "branch average": INK,
    "merged": GROUP_COLOURS[0],
    "joint": GROUP_COLOURS[1],
    "joint-equal-steps": GROUP_COLOURS[5],
}
MARKERS = {"start": "|", "branch average": "s", "merged": "o", "joint": "D", "joint-equal-steps": "d"}


def stripe(panel: Axes, rows: int) -> None:
    """Rows 0, 1, … from the top, every other one on a faint band, and no frame but the axis below."""
    for number in range(0, rows, 2):
        panel.axhspan(number - 0.5, number + 0.5, color=FAINT, linewidth=0, zorder=-1, alpha=0.6)
    panel.set_ylim(rows - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.spines[["left", "right", "top"]].set_visible(False)
