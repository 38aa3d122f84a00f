"""The report as one HTML file that needs nothing else: no script, no other file; light and dark, paper and phone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from diagnostics.report.document import Document
from diagnostics.report.markdown import cost_text
from diagnostics.report.numbers import bounds_text, digits_of, number_text
from diagnostics.report.section import Picture
from diagnostics.report.verdict import WHAT_READY_MEANS
from training.evaluation.noise import Interval

MARGIN = 0.04
"""Free space on either side of a row of bars, as a share of its width."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A number with its interval, in words and as places on a common scale.

    Attributes:
        label: of the row.
        value: as text.
        bounds: as text.
        at: place of the value, in percent of the scale.
        low: place of the lower end.
        width: of the interval.
    """

    label: str
    value: str
    bounds: str
    at: float
    low: float
    width: float


@dataclass(frozen=True, slots=True)
class Bars:
    """Rows on one scale, and the place of the line they are compared with."""

    rows: tuple[Bar, ...]
    line: float


def html(document: Document, pictures: Path) -> str:
    """The page; the SVG files of its pictures are read from the folder ``pictures``."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        document=document,
        triple=bars(document.triple, document.triple["merged"].value) if document.triple else None,
        gains=bars(document.gains, 0.0, signed=True) if document.gains else None,
        cost=cost_text,
        what_ready_means=WHAT_READY_MEANS,
        inlined=lambda picture: inlined(picture, (pictures / f"{picture.name}.svg").read_text(encoding="utf-8")),
    )


def bars(intervals: Mapping[str, Interval], line: float, signed: bool = False) -> Bars:
    """Lay intervals out on a scale that holds all of them and ``line``.

    >>> bars({"a": Interval(1.0, 0.0, 2.0)}, line=0.0).rows[0].at
    50.0
    """
    lowest = min(line, *(interval.low for interval in intervals.values()))
    highest = max(line, *(interval.high for interval in intervals.values()))
    span = (highest - lowest) or 1.0
    digits = digits_of(*intervals.values())

    def place(value: float) -> float:
        return round(100 * (MARGIN + (1 - 2 * MARGIN) * (value - lowest) / span), 2)

    rows = tuple(
        Bar(
            label=label,
            value=number_text(interval.value, digits, signed),
            bounds=bounds_text(interval, digits, signed),
            at=place(interval.value),
            low=place(interval.low),
            width=round(place(interval.high) - place(interval.low), 2),
        )
        for label, interval in intervals.items()
    )
    return Bars(rows, place(line))


def inlined(picture: Picture, svg: str) -> Markup:
    """The picture as part of the page, where it follows the page's colours.

    Its element ids get the picture's name in front, because another picture may use the same ones.
    """
    drawn = svg[svg.index("<svg") :]
    drawn = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{picture.name}-", drawn)
    label = escape(picture.alt)
    return Markup(drawn.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))
