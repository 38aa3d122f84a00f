"""Pictures of several rows of panels, each row with a legend, each panel with what the theory predicted of it."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.simulation.series import Series
from figures.style import FULL_WIDTH, MUTED, POINTS_PER_INCH, TEXT_SIZE, axes_at, headed_figure, text_width

PREDICTED_SIZE = 6.0

# Layout in inches.
RIGHT = 0.12
LEFT = 0.58
LEGEND_LINE = 0.152
TITLE_LINE = 0.125
PREDICTED_LINE = 0.115
BELOW = 0.44


@dataclass(frozen=True, slots=True)
class Row:
    """A row of panels.

    Attributes:
        titles: one for each panel, saying what its y axis measures or which part of the experiment it shows.
        height: of the panels, in inches.
        series: what the legend above the row names.
        predicted: the theory's word on each panel, or a single one on the whole row; empty where it has none.
        left: of the first panel, in inches.
        gap: between panels, in inches.
    """

    titles: Sequence[str]
    height: float
    series: Sequence[Series] = ()
    predicted: Sequence[str] = ()
    left: float = LEFT
    gap: float = 0.6

    @property
    def width(self) -> float:
        """Of one panel, in inches."""
        across = FULL_WIDTH - RIGHT - self.left - self.gap * (len(self.titles) - 1)
        return across / len(self.titles)

    @property
    def across(self) -> float:
        """Of the whole row, in inches."""
        return FULL_WIDTH - RIGHT - self.left

    @property
    def whole(self) -> bool:
        """Whether the prediction is one on the row."""
        return len(self.predicted) == 1 and len(self.titles) > 1

    @property
    def heads(self) -> list[str]:
        """The titles, broken into lines."""
        columns = int((self.width + RIGHT / 2) * POINTS_PER_INCH / (0.56 * TEXT_SIZE))
        return ["\n".join(textwrap.wrap(title, columns)) for title in self.titles]

    @property
    def words(self) -> list[str]:
        """The predictions, broken into lines."""
        columns = int((self.across if self.whole else self.width) * POINTS_PER_INCH / (0.53 * PREDICTED_SIZE))
        told = [f"predicted: {words}" if words else "" for words in self.predicted]
        return ["\n".join(textwrap.wrap(words, columns)) for words in told]

    @property
    def legend_columns(self) -> int:
        """As many entries beside each other as find room."""
        room = [text_width(series.label, TEXT_SIZE) + 4.6 * TEXT_SIZE / POINTS_PER_INCH for series in self.series]
        across = FULL_WIDTH - RIGHT - self.legend_left
        return len(room) if sum(room) <= across else max(1, int(across / max(room)))

    @property
    def legend_left(self) -> float:
        """Where the legend begins, in inches: with the panels, unless names of rows take the room left of them."""
        return min(self.left, LEFT)

    @property
    def predicted_height(self) -> float:
        """Between panels and titles."""
        return PREDICTED_LINE * _most_lines(self.words)

    @property
    def above(self) -> float:
        """Height of the legend, titles and predictions."""
        lines = -(-len(self.series) // self.legend_columns) if self.series else 0
        return LEGEND_LINE * lines + 0.04 + TITLE_LINE * _most_lines(self.heads) + self.predicted_height + 0.05

    @property
    def total(self) -> float:
        """Height from legend to axis names."""
        return self.above + self.height + BELOW


def panels(title: str, sentence: str, rows: Sequence[Row]) -> tuple[Figure, list[list[Axes]]]:
    """An empty picture with its headings, legends and predictions, and its panels row by row."""
    top = sum(row.total for row in rows)
    figure = headed_figure(FULL_WIDTH, top, title, sentence)
    drawn = []
    for row in rows:
        bottom = top - row.above - row.height
        if row.series:
            _add_legend(figure, row, top)
        own = [
            axes_at(figure, row.left + number * (row.width + row.gap), bottom, row.width, row.height)
            for number in range(len(row.titles))
        ]
        _add_words(own, row)
        drawn.append(own)
        top -= row.total
    return figure, drawn


def _add_legend(figure: Figure, row: Row, top: float) -> None:
    across, up = figure.get_size_inches()
    figure.legend(
        handles=[series.handle for series in row.series],
        loc="upper left",
        bbox_to_anchor=(row.legend_left / across, top / up),
        ncols=row.legend_columns,
        borderpad=0,
        borderaxespad=0,
        columnspacing=1.4,
        labelspacing=0.4,
        handlelength=2.0,
    )


def _add_words(own: Sequence[Axes], row: Row) -> None:
    """Titles, with the predictions between them and the panels."""
    for axes, title in zip(own, row.heads, strict=True):
        axes.set_title(title, loc="left", size=TEXT_SIZE, pad=(row.predicted_height + 0.05) * POINTS_PER_INCH)
        axes.spines[["top", "right"]].set_visible(False)
    for axes, words in zip(own, row.words, strict=False):
        axes.text(
            0,
            1 + (row.predicted_height + 0.02) / row.height,
            words,
            transform=axes.transAxes,
            va="top",
            size=PREDICTED_SIZE,
            color=MUTED,
            style="italic",
            linespacing=1.2,
        )


def _most_lines(texts: Sequence[str]) -> int:
    return max((text.count("\n") + 1 for text in texts if text), default=0)
