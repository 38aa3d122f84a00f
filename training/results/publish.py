"""The end of a run: pictures, summary page, and the table on the terminal."""

from pathlib import Path

from rich.console import Console

from training.results.summary import Summary
from training.results.summary_page import difference_line, markdown, terminal_table
from training.run_directory import RunDirectory, write_text

MOST_DIFFERENCES = 24
"""On the terminal; the page has them all."""


def publish(summary: Summary, out: Path, console: Console) -> None:
    """Draw the pictures, write ``summary.md`` and print the table."""
    run = RunDirectory(out)
    write_text(run.summary(".md"), markdown(summary, _pictures(summary, run)))
    console.print(terminal_table(summary))
    if len(summary.differences) <= MOST_DIFFERENCES:
        for difference in summary.differences:
            console.print(difference_line(difference), markup=False, highlight=False)
    else:
        console.print(f"{len(summary.differences)} differences from controls stand on the page below.")
    if summary.doubts:
        console.print("\nDoubts:")
    for doubt in summary.doubts:
        console.print(f"- {doubt}", markup=False, highlight=False)
    console.print(f"\nThe whole table, its notes and the pictures: {run.summary('.md')}", markup=False, highlight=False)


def _pictures(summary: Summary, run: RunDirectory) -> list[tuple[str, str]]:
    """Captions and paths, relative to the page, of the heat map and the task map of the run's first partition."""
    if not summary.partitions:
        return []
    from figures.partition import conflict_heat_map, task_map
    from figures.style import save

    along_axes = [rule.name for rule in summary.partitions if rule.kind == "pca"]
    shown = along_axes[0] if along_axes else summary.partitions[0].name
    drawn = [("Conflicts between tasks", save(conflict_heat_map.draw(run, shown), run.pictures, "conflict_heat_map"))]
    if along_axes:
        drawn.append(("Tasks along the conflict axes", save(task_map.draw(run, shown), run.pictures, "task_map")))
    return [(caption, str(png.relative_to(run.root))) for caption, (png, _) in drawn]
