"""The end of a report: pictures, ``report.{html,json,md}``, and the verdict on the terminal."""

import shlex
import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from diagnostics.gain_check import GainCheck
from diagnostics.losses import Losses
from diagnostics.report.contents import SECTIONS, drawing
from diagnostics.report.document import Document
from diagnostics.report.markdown import markdown
from diagnostics.report.measured_on import measured_on, subject_values
from diagnostics.report.numbers import bounds_text, digits_of, number_text
from diagnostics.report.page import html
from diagnostics.report.section import Section
from diagnostics.report.verdict import beside_joint, decide, result_of
from diagnostics.result import Result
from diagnostics.settings import DiagnosticSettings
from diagnostics.subject import Subject
from training.environment import describe_environment
from training.keyed_file import stored_key
from training.run_directory import ReportDirectory, write_json, write_text

TERMINAL_WIDTH = 80


def publish(
    subject: Subject,
    directory: ReportDirectory,
    preset: str,
    settings: DiagnosticSettings,
    results: Sequence[Result],
    console: Console,
) -> None:
    """Draw the pictures, write the page in its three forms and print the verdict.

    Args:
        subject: what was measured.
        directory: of the report; the results' files lie there.
        preset: name of the settings that ``settings`` began from.
        settings: how much was measured.
        results: what the report shows, in its order; diagnostics without a result are named as not measured.
        console: where the verdict goes.
    """
    environment = describe_environment()
    document = _document(subject, preset, settings, results, environment)
    _draw(directory, document.sections)
    write_text(directory.page(".html"), html(document, directory.pictures))
    write_text(directory.page(".md"), markdown(document))
    write_json(
        directory.page(".json"),
        document.as_json()
        | {
            "subject": subject_values(subject),
            "preset": preset,
            "settings": settings.model_dump(mode="json"),
            "results": {result.name: result.model_dump(mode="json") for result in results},
            "keys": {result.name: stored_key(directory.arrays(result.name)) for result in results},
            "environment": environment,
        },
    )
    _print(document, directory, console)


def _document(
    subject: Subject,
    preset: str,
    settings: DiagnosticSettings,
    results: Sequence[Result],
    environment: dict[str, Any],
) -> Document:
    losses = result_of(results, Losses)
    measured = {result.name for result in results}
    branches = len(subject.checkpoints.branches)
    return Document(
        title=subject.title,
        subtitle=f"{branches} branches merged into one, over {len(subject.tasks)} tasks; preset {preset}.",
        verdict=decide(results),
        beside_joint=beside_joint(losses),
        losses=losses,
        gain_check=result_of(results, GainCheck),
        sections=tuple(SECTIONS[result.name](result) for result in results),
        missing=tuple(name.replace("_", " ") for name in SECTIONS if name not in measured),
        measured_on=measured_on(subject, preset, settings, environment),
        command=_command(environment["command"]),
    )


def _draw(directory: ReportDirectory, sections: Sequence[Section]) -> None:
    from figures.style import save

    for section in sections:
        for picture in section.pictures:
            save(drawing(picture)(directory), directory.pictures, picture.name)


def _command(arguments: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "diagnostics", *arguments[1:]])


def _print(document: Document, directory: ReportDirectory, console: Console) -> None:
    lines = ["", f"{document.title}: {document.verdict.answer}", *_wrapped(document.verdict.deciding), ""]
    for title, intervals, signed in (
        ("loss, nats per answer token", document.triple, False),
        ("gain of merging, nats per answer token", document.gains, True),
    ):
        if intervals:
            digits = digits_of(*intervals.values())
            lines.append(f"{title} [95 %]")
            lines += [
                f"  {name:<26}{number_text(entry.value, digits, signed):>10}  {bounds_text(entry, digits, signed)}"
                for name, entry in intervals.items()
            ]
            lines.append("")
    lines += [*_wrapped(document.beside_joint), ""]
    if document.missing:
        lines += [*_wrapped(f"Not measured: {', '.join(document.missing)}."), ""]
    lines.append(f"report: {directory.page('.html')}")
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, TERMINAL_WIDTH, break_long_words=False, break_on_hyphens=False)
