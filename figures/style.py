"""How every picture looks, and how it becomes files.

Sizes are inches on paper: a picture is at most as wide as the text of a two-column page, its smallest type is 5 points,
and the PNG's 200 dots per inch fill a README. Nothing here touches matplotlib's global state for longer than a call.

An SVG has no background and follows the reader's light or dark mode: a style sheet in it swaps the colours below, which
is why pictures take theirs from here. A PNG is light, on white.
"""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.textpath import TextPath

from training.run_directory import replacing

FULL_WIDTH = 7.1
MARGIN = 0.1
POINTS_PER_INCH = 72.0

TITLE_SIZE = 9.0
TEXT_SIZE = 7.0
SMALLEST_SIZE = 5.0

INK = "#262626"
MUTED = "#6b6b6b"
LINE = "#b8b8b8"
FAINT = "#ebebeb"
PAPER = "#fefefe"
"""What the picture lies on, for boxes behind labels; not quite white, which stays white on a dark page."""

INK_ON_COLOUR = "#252525"
MUTED_ON_COLOUR = "#6a6a6a"
"""Ink on colours that are the same in either mode, such as those of a colour map."""

GROUP_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8a00", "#333333")
"""Okabe and Ito's colours, told apart with any colour vision; their yellow is darkened to show on white."""

DARK_MODE = {
    INK: "#e3e5e8",
    MUTED: "#9ba1a8",
    LINE: "#565b62",
    FAINT: "#2b2e33",
    PAPER: "var(--paper, #15171a)",  # a page around the picture may set its own
    **dict(
        zip(
            GROUP_COLOURS,
            ("#3f97d6", "#e8a93a", "#1fb58c", "#d68fb8", "#8fcdf3", "#ee7b2b", "#b3b33c", "#c9cdd2"),
            strict=True,
        )
    ),
}
"""What each colour becomes on a dark page."""

GROUP_MARKERS = "osD^vPX<>"
"""A shape beside every colour, for print without colour; nine shapes and eight colours make 72 different groups."""

DIVERGING = "RdBu"
"""Red below zero, white at it, blue above: symmetric in lightness and told apart with any colour vision."""

_SETTINGS = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": TEXT_SIZE,
    "text.color": INK,
    "text.parse_math": False,  # names from users may hold dollar signs
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT_SIZE,
    "axes.linewidth": 0.6,
    "xtick.color": LINE,
    "xtick.labelcolor": INK,
    "xtick.labelsize": TEXT_SIZE,
    "xtick.major.size": 2.0,
    "xtick.major.width": 0.6,
    "ytick.color": LINE,
    "ytick.labelcolor": INK,
    "ytick.labelsize": TEXT_SIZE,
    "ytick.major.size": 2.0,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.0,
    "legend.fontsize": TEXT_SIZE,
    "legend.frameon": False,
    "legend.title_fontsize": TEXT_SIZE,
    "savefig.dpi": 200,
    "svg.hashsalt": "merit-lab",  # element ids are random without it
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in this style, whatever the reader's own matplotlib settings say; as a decorator, for a whole function."""
    with context(_SETTINGS, after_reset=True):
        yield


def headed_figure(width: float, body_height: float, title: str, sentence: str) -> Figure:
    """A figure with a body of ``width`` by ``body_height`` inches under a title and a sentence on how to read it."""
    headings, lines = (
        textwrap.wrap(text, int((width - 2 * MARGIN) * POINTS_PER_INCH / character), break_on_hyphens=False)
        for text, character in ((title, 0.66 * TITLE_SIZE), (sentence, 0.54 * TEXT_SIZE))
    )
    title_height = (1.2 * len(headings) + 0.9) * TITLE_SIZE / POINTS_PER_INCH
    height = body_height + title_height + (1.3 * len(lines) + 1) * TEXT_SIZE / POINTS_PER_INCH
    figure = Figure(figsize=(width, height))
    left = MARGIN / width
    figure.text(left, 1 - MARGIN / height, "\n".join(headings), size=TITLE_SIZE, weight="bold", va="top")
    figure.text(left, 1 - title_height / height, "\n".join(lines), color=MUTED, va="top", linespacing=1.3)
    return figure


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the figure's lower left corner, so that type and panels keep their proportion."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def text_width(text: str, size: float) -> float:
    """Width in inches of ``text`` at ``size`` points."""
    return TextPath((0.0, 0.0), text, size=size).vertices[:, 0].max() / POINTS_PER_INCH


@styled()
def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``NAME.png`` and ``NAME.svg`` into ``folder``, each atomically; equal figures give equal bytes.

    Args:
        figure: what to write.
        folder: for a run its ``pictures``.
        name: file name without suffix.

    Returns:
        The PNG and the SVG.
    """
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with replacing(png) as temporary:
        figure.savefig(temporary, format="png", facecolor="white")
    with replacing(svg) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
        drawn = temporary.read_text(encoding="utf-8")
        temporary.write_text(drawn.replace("</style>", f"{_dark_mode_rules()}</style>", 1), encoding="utf-8")
    return png, svg


def _dark_mode_rules() -> str:
    """Style sheet that swaps the colours of shapes, by the inline styles that matplotlib gives them."""
    rules = [
        f'[style*="{part}: {light}"] {{ {part}: {dark} !important }}'
        for light, dark in DARK_MODE.items()
        for part in ("fill", "stroke")
    ]
    return "\n".join(["", "@media screen and (prefers-color-scheme: dark) {", *rules, "}", ""])
