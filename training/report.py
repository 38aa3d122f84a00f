"""The end of a run: pictures, summary page, and the table on the terminal."""

from pathlib import Path

from rich.console import Console

from training.run_directory import RunDirectory, write_text
from training.summary import Summary
from training.summary_page import difference_line, markdown, terminal_table


def publish(summary: Summary, out: Path, console: Console) -> None:
    """Draw the pictures, write ``summary.md`` and print the table."""
    run = RunDirectory(out)
    pictures: list[tuple[str, str]] = []
    write_text(run.summary(".md"), markdown(summary, pictures))
    console.print(terminal_table(summary))
    for difference in summary.differences:
        console.print(difference_line(difference), markup=False, highlight=False)
    console.print(f"\n{run.summary('.md')}", markup=False)
