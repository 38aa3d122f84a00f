"""Command line: ``python -m figures NAME|all [--run RUN …] [--arm ARM …] [--simulations DIR] --out DIR``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from figures import style, table
from figures.catalogue import CATALOGUE, NAMES, Entry
from figures.gallery import Exhibit, gallery
from figures.given import Given, given
from training.command_line import console, run_command
from training.errors import InputError, MissingInput
from training.full_disk import full_disk_told
from training.run_directory import write_text

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def draw(
    name: Annotated[str, typer.Argument(help=f"all, or one of {', '.join(NAMES)}")],
    out: Annotated[Path, typer.Option(help="folder of the pictures and tables")],
    run: Annotated[list[Path], typer.Option(help="run directory; repeat for runs of one study")] = [],  # noqa: B006
    arm: Annotated[list[str], typer.Option(help="draw its report and partition only; repeat for more")] = [],  # noqa: B006
    simulations: Annotated[Path | None, typer.Option(help="folder that python -m simulations wrote")] = None,
) -> None:
    """Redraw pictures (SVG, PNG) and tables (Markdown, LaTeX) from files; all also as one page, gallery.html."""
    if name not in (*NAMES, "all"):
        raise InputError(f"there is no picture or table {name!r}; name all, or one of {', '.join(NAMES)}")
    inputs = given(run, arm, simulations)
    terminal = console()
    damaged = False
    exhibits: list[Exhibit] = []
    with full_disk_told(out):
        for entry in CATALOGUE:
            if name not in (entry.name, "all"):
                continue
            try:
                exhibits += _draw(entry, inputs, out, terminal)
            except InputError as error:
                if name != "all":
                    raise
                damaged |= not isinstance(error, MissingInput)
                terminal.print(f"{entry.name}: skipped: {error}")
        if name == "all":
            page = out / "gallery.html"
            write_text(page, gallery(exhibits))
            terminal.print(f"gallery: {page}")
    if damaged:
        raise InputError("not everything could be drawn; what was skipped is damaged where it says so above")


def _draw(entry: Entry, inputs: Given, out: Path, terminal: Console) -> list[Exhibit]:
    """Draw ``entry`` for everything that was given.

    Raises:
        MissingInput: nothing that was given has what the entry is drawn from.
        InputError: a file is damaged.
    """
    exhibits: list[Exhibit] = []
    lacking: list[MissingInput] = []
    for folder, arguments in inputs.arguments(entry):
        try:
            exhibits.append(_draw_once(entry, folder, arguments, inputs, out, terminal))
        except MissingInput as missing:
            lacking.append(missing)
    if lacking and not exhibits:
        raise lacking[0]
    for missing in lacking:
        terminal.print(f"{entry.name}: skipped: {missing}")
    return exhibits


def _draw_once(
    entry: Entry, folder: Path, arguments: Sequence[Any], inputs: Given, out: Path, terminal: Console
) -> Exhibit:
    module = entry.module()
    if hasattr(module, "draw"):
        files = style.save(module.draw(*arguments), out / folder, entry.name)
        shown: Path | table.Table = files[1]
    else:
        rows: table.Table = module.tabulate(*arguments)
        files, shown = table.save(rows, out / folder, entry.name), rows
    terminal.print(f"{entry.name}: {', '.join(map(str, files))}")
    return Exhibit(entry, "" if folder == Path() else str(folder), shown, inputs.command(entry))


def main() -> None:
    """Run the command line; exit codes as in :func:`training.command_line.run_command`."""
    run_command(app)


if __name__ == "__main__":
    main()
