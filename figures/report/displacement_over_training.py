"""How far each model had moved from the start, step by step."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures.style import FULL_WIDTH, GROUP_COLOURS, MUTED, axes_at, headed_figure, styled
from training.run_directory import ReportDirectory, read_json

COLOURS = {"average": GROUP_COLOURS[0], "joint": GROUP_COLOURS[1], "joint-equal-steps": GROUP_COLOURS[5]}
MARKERS = {"average": "o", "joint": "D", "joint-equal-steps": "d"}
NAMES = {"average": "average of the branches,\nfrom sketches"}

# Layout in inches.
LEFT = 0.55
BOTTOM = 0.42
WIDTH = 4.9
HEIGHT = 2.2

SENTENCE = (
    "Distance from the start at the steps that were recorded, joined by straight lines. The average is where merging "
    "at that step would have led; it lies nearer than the branches by as much as they have come apart."
)


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """Distances over training of the branches, of their average, and of joint training."""
    courses = read_json(directory.values("displacement"))["result"]["courses"]
    figure = headed_figure(FULL_WIDTH, BOTTOM + HEIGHT + 0.1, "Distance from the start over training", SENTENCE)
    axes = axes_at(figure, LEFT, BOTTOM, WIDTH, HEIGHT)
    named: set[str] = set()
    for course in courses:
        model = course["model"]
        name = "branches" if model.startswith("branch-") else NAMES.get(model, model)
        axes.plot(
            [0, *course["steps"]],
            [0, *course["norms"]],
            color=COLOURS.get(model, MUTED),
            linewidth=1.2 if model in COLOURS else 0.8,
            marker=MARKERS.get(model, "."),
            markersize=3,
            zorder=3 if model == "average" else 2,
            label="" if name in named else name,
            clip_on=False,
        )
        named.add(name)
    axes.set(xlim=(0, None), ylim=(0, None), xlabel="optimiser step", ylabel="‖δ‖")
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
    return figure
