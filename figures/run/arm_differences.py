"""What separates each arm of a run from its controls, if anything."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures.recorded import summary_of
from figures.run.arm_rows import ArmRows, limit, mark, whisker, zero_line
from figures.style import FULL_WIDTH, GROUP_COLOURS, MUTED, headed_figure, styled
from training.errors import MissingInput
from training.run_directory import RunDirectory

COLOURS = {"lower": GROUP_COLOURS[0], "higher": GROUP_COLOURS[5], "inside the noise": MUTED}
KINDS = (
    "start",
    "joint",
    "joint, equal\nsteps or\nepochs",
    "joint,\nstratified",
    "joint,\nscaled",
    "random\ngroups",
    "shares",
    "its own\nplain merge",
)
SPREAD = 0.5
"""Of a row, that the intervals of several controls of a kind share."""
SENTENCE = (
    "Loss of the arm minus that of a control of its run, on the same test items, with 95 % intervals over these items; "
    "left of the line the arm has the lower loss. Blue and orange: the interval leaves out zero, below or above; grey: "
    "not separated. One seed, and no correction for the number of comparisons. Several random draws share a row."
)

# Layout in inches.
BOTTOM = 0.45
ABOVE = 0.45
GAP = 0.16
RIGHT = 0.15
WIDEST = 2.2


@styled()
def draw(run: RunDirectory) -> Figure:
    """A row for each arm and a panel for each kind of control, all on one scale.

    Raises:
        MissingInput: the run has not ended, or no arm of it has a control.
    """
    differences = summary_of(run)["differences"]
    if not differences:
        raise MissingInput(f"no arm of {run.root} has a control in it; add joint and random-2 to its arms, and run it")
    kinds: dict[str, dict[str, list[Mapping[str, Any]]]] = {kind: {} for kind in KINDS}
    for entry in differences:
        kinds[control_kind(entry["arm"], entry["control"])].setdefault(entry["arm"], []).append(entry)
    kinds = {kind: own for kind, own in kinds.items() if own}
    rows = ArmRows.of(dict.fromkeys(entry["arm"] for entry in differences))
    title = f"Arms of the run {run.root.resolve().name} against their controls"
    figure = headed_figure(FULL_WIDTH, BOTTOM + rows.height + ABOVE, title, SENTENCE)
    rows.write_names(figure, BOTTOM)
    width = min(WIDEST, (FULL_WIDTH - rows.left - RIGHT - GAP * (len(kinds) - 1)) / len(kinds))
    for number, (kind, own) in enumerate(kinds.items()):
        panel = rows.panel(figure, rows.left + number * (width + GAP), BOTTOM, width, kind)
        limit(panel, *_reach(differences))
        zero_line(panel)
        for arm, entries in own.items():
            _draw_entries(panel, rows.arms[arm], entries)
        panel.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}".replace("-", "−"))
        if number == len(kinds) // 2:
            panel.set_xlabel("loss of the arm − loss of the control, nats per answer token")
    return figure


def control_kind(arm: str, control: str) -> str:
    r"""The kind of a control, one of ``KINDS``.

    >>> control_kind("merit-2d+ties", "merit-2d"), control_kind("merit-2d+ties", "random-4+ties")
    ('its own\nplain merge', 'random\ngroups')
    """
    prefixes = {
        "joint-stratified-": "joint,\nstratified",
        "joint-": "joint, equal\nsteps or\nepochs",
        "random-": "random\ngroups",
        "iid-": "shares",
    }
    if control in ("start", "joint"):
        return control
    if arm.startswith((f"{control}-uniform", f"{control}+", f"{control}@")):
        return "its own\nplain merge"
    if control.startswith("joint") and "@" in control:
        return "joint,\nscaled"
    return next((kind for prefix, kind in prefixes.items() if control.startswith(prefix)), "its own\nplain merge")


def _reach(differences: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """Zero and all values, and the ends of their intervals."""
    losses = [entry["loss"] for entry in differences]
    return [0.0, *(loss["value"] for loss in losses)], [loss[end] for loss in losses for end in ("low", "high")]


def _draw_entries(panel: Any, row: int, entries: Sequence[Mapping[str, Any]]) -> None:
    """The intervals of one arm, below one another where there are several."""
    for number, entry in enumerate(entries):
        place = row + SPREAD * ((number + 0.5) / len(entries) - 0.5)
        colour = COLOURS[entry["verdict"]]
        whisker(panel, place, entry["loss"], colour)
        mark(panel, place, entry["loss"]["value"], colour, 3.4 if len(entries) == 1 else 2.2)
