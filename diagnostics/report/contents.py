"""What stands in a report: the section of each diagnostic, and who draws its pictures."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from diagnostics.report.section import Picture, Section
from diagnostics.report.sections import (
    alignment,
    calibration,
    connectivity,
    displacement,
    flatness,
    gain_check,
    landscape,
    losses,
)

SECTIONS: dict[str, Callable[[Any], Section]] = {
    "losses": losses.section,
    "gain_check": gain_check.section,
    "connectivity": connectivity.section,
    "flatness": flatness.section,
    "landscape": landscape.section,
    "displacement": displacement.section,
    "alignment": alignment.section,
    "calibration": calibration.section,
}
"""By the diagnostic's name; each takes its result."""


def drawing(picture: Picture) -> Callable[[Any], Any]:
    """The function that draws a picture from the report's files: ``draw`` of the module in ``figures.report``.

    It is imported when it is called for, because figures bring matplotlib.
    """
    return import_module(f"figures.report.{picture.name}").draw
