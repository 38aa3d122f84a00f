"""Command line: ``python -m merit_theory verify``."""

import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The paper's statements and this project's own, as code.",
)

UsageError: Any = typer.BadParameter.__base__
"""Typer brings its own copy of click or uses the installed one, by version; this is the right one's."""

INTERRUPTED = 130


@app.callback()
def commands() -> None:
    """The paper's statements and this project's own, as code."""


@app.command()
def verify(
    only: Annotated[str, typer.Option(help="the statements whose id contains this, as in F.11")] = "",
    instances: Annotated[int, typer.Option(min=1, help="random instances per claim")] = 4096,
    seed: Annotated[int, typer.Option(help="of everything random")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the findings here too")] = None,
) -> None:
    """Attack every statement, print what came of it, and end with 1 if a verdict is not reproduced."""
    import jax
    from rich.console import Console
    from rich.progress import Progress

    if json_file is not None and not json_file.parent.is_dir():
        raise ValueError(f"--json {json_file}: its folder does not exist; create it first")
    jax.config.update("jax_enable_x64", True)
    from merit_theory import verify as verification
    from merit_theory.propositions.catalogue import PROPOSITIONS
    from merit_theory.verdict_table import rows, table

    chosen = verification.select(PROPOSITIONS, only)
    found, stop = [], _Interruption()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(chosen))
        for proposition in chosen:
            progress.update(task, description=proposition.id)
            stop.check()
            found.append(verification.verify(proposition, instances, seed))
            progress.advance(task)
    if json_file is not None:
        json_file.write_text(json.dumps(rows(found), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    # Narrower than this, seven columns cannot be read; a terminal that is narrower wraps the lines.
    console = Console(width=max(Console().width, 150))
    console.print(table(found))
    failed = [each.id for each in found if not each.reproduced]
    total = sum(each.seconds for each in found)
    reproduced = f"{len(found) - len(failed)} of {len(found)} verdicts reproduced in {total:.0f} s"
    console.print(reproduced + (f"; not reproduced: {', '.join(failed)}" if failed else ""), markup=False)
    if failed:
        raise typer.Exit(1)


class _Interruption:
    """Remembers Ctrl-C: the exception alone is lost when it strikes inside one of the compiler's callbacks."""

    def __init__(self) -> None:
        self.came = False
        signal.signal(signal.SIGINT, self._strike)

    def _strike(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        raise KeyboardInterrupt

    def check(self) -> None:
        if self.came:
            raise KeyboardInterrupt


def main() -> None:
    """Run the command line; one line on stderr and exit code 2 for bad input, 130 for an interruption."""
    try:
        code: Any = app(standalone_mode=False)
    except (ValueError, OSError) as error:
        _end(f"error: {error}", 2)
    except UsageError as error:
        _end(f"error: {str(error) or 'no command'}; see --help", 2)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    # Typer turns an interruption into this code or lets it through, by version.
    if code == INTERRUPTED:
        _end("stopped: interrupted; run the same command to start over", INTERRUPTED)
    sys.exit(code)


def _end(message: str, code: int) -> NoReturn:
    typer.echo(" ".join(message.split()), err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
