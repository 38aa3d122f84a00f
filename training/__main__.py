"""Command line: ``python -m training run | branch | merge``."""

import errno
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from training.errors import InputError
from training.full_disk import full_disk_told
from training.interruption import Interrupted, answer_termination

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Split a mixture of tasks along its conflicts, tune the parts alone, merge them once, and compare.",
)

UsageError: Any = typer.BadParameter.__base__
"""Typer brings its own copy of click or uses the installed one, by version; this is the right one's."""

UNUSABLE_PATH = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
"""A path given by the user, or below one, that the system refuses."""

DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh])")
SECONDS = {"s": 1, "m": 60, "h": 3600}
CTRL_C = 130


def _seconds(duration: str) -> float:
    found = DURATION.fullmatch(duration)
    if found is None:
        raise InputError(f"--time-budget {duration!r} is no duration; write 90s, 30m or 2h")
    return float(found[1]) * SECONDS[found[2]]


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="a TOML file, or demo, or smoke")],
    out: Annotated[Path, typer.Option(help="run directory; the same command continues a run that was stopped")],
    overrides: Annotated[list[str], typer.Option("--set", help="key.path=value, as in branch.learning_rate=1e-4")] = [],  # noqa: B006
    time_budget: Annotated[str | None, typer.Option(help="stop after this long, to be continued: 90s, 30m, 2h")] = None,
) -> None:
    """Run a recipe: mixture, conflicts, partition, branches, merge, evaluation, summary."""
    from training.config import load_recipe
    from training.pipeline import run_recipe
    from training.progress import Progress
    from training.report import publish

    console = _console()
    budget = None if time_budget is None else _seconds(time_budget)
    with full_disk_told(out):
        summary = run_recipe(load_recipe(recipe, overrides), out, Progress(console), budget)
        publish(summary, out, console)


@app.command()
def branch(
    spec: Annotated[Path, typer.Option(help="spec.json of the branch, beside the files it names")],
    out: Annotated[Path, typer.Option(help="branch directory to write")],
    device: Annotated[str, typer.Option(help="torch device")] = "cpu",
) -> None:
    """Train one branch alone, on any machine that has its files."""
    import torch

    from training.branch import train_branch
    from training.branch_spec import TOKENS_PER_ROW, load_spec
    from training.model import quieten_transformers
    from training.progress import Progress

    console = _console()
    torch.set_num_threads(1)
    quieten_transformers()
    tokens = TOKENS_PER_ROW * load_spec(spec).examples
    with full_disk_told(out), Progress(console).jobs("branch", [(spec.parent.name, tokens)]) as bars:
        done = train_branch(spec, out, device, lambda tokens: bars.advance(0, tokens), lambda: False)
    console.print(f"{done['steps']} steps, {done['tokens']} tokens, {done['seconds']:.1f} s: {out / 'model'}")


@app.command()
def merge(
    branch: Annotated[list[Path], typer.Option(help="model folder of a branch; repeat for each")],
    out: Annotated[Path, typer.Option(help="model folder to write")],
    operator: Annotated[str, typer.Option(help="merge operator")] = "linear",
    weight: Annotated[list[float], typer.Option(help="one per branch; equal weights if left out")] = [],  # noqa: B006
    start: Annotated[Path | None, typer.Option(help="model folder the branches began from")] = None,
) -> None:
    """Merge model folders, wherever they were trained."""
    from training.merge.folders import merge_folders
    from training.merge.linear import uniform_weights

    weights = weight or uniform_weights(len(branch))
    report = merge_folders(operator, branch, weights, out, start=start)
    _console().print(f"{report.tensors} tensors, {report.seconds:.1f} s, SHA-256 {report.sha256[:16]}: {out}")


def _console() -> Console:
    """A console that prints names and paths as they are: no markup, emoji, colours for numbers or line breaks."""
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line; one line on stderr and exit code 2 for bad input, 130 for an interruption."""
    answer_termination()
    try:
        if app(standalone_mode=False) == CTRL_C:  # how newer versions of Typer hand on a KeyboardInterrupt
            raise KeyboardInterrupt
    except InputError as error:
        _end(f"error: {error}", 2)
    except OSError as error:
        if error.errno not in UNUSABLE_PATH or error.filename is None:
            raise
        _end(f"error: {error.filename}: {error.strerror}; give a path that can be used", 2)
    except UsageError as error:
        _end(f"error: {error.format_message().rstrip('.') or 'no command'}; see --help", 2)
    except (Interrupted, KeyboardInterrupt, typer.Abort) as stop:
        _end(f"stopped: {str(stop) or 'interrupted'}; run the same command to continue", CTRL_C)


def _end(message: str, code: int) -> None:
    typer.echo(" ".join(line.strip() for line in message.splitlines()), err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
