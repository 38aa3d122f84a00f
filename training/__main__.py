"""Command line: ``python -m training run | branch | merge``."""

import errno
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from training.errors import InputError
from training.interruption import Interrupted

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Split a mixture of tasks along its conflicts, tune the parts alone, merge them once, and compare.",
)

UsageError: Any = typer.BadParameter.__base__
"""Typer brings its own copy of click or uses the installed one, by version; this is the right one's."""

DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh])")
SECONDS = {"s": 1, "m": 60, "h": 3600}


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

    console = Console()
    budget = None if time_budget is None else _seconds(time_budget)
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

    console = Console()
    torch.set_num_threads(1)
    quieten_transformers()
    tokens = TOKENS_PER_ROW * load_spec(spec).examples
    with Progress(console).jobs("branch", [(spec.parent.name, tokens)]) as bars:
        done = train_branch(spec, out, device, lambda tokens: bars.advance(0, tokens), lambda: False)
    console.print(
        f"{done['steps']} steps, {done['tokens']} tokens, {done['seconds']:.1f} s: {out / 'model'}", markup=False
    )


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
    Console().print(
        f"{report.tensors} tensors, {report.seconds:.1f} s, SHA-256 {report.sha256[:16]}: {out}", markup=False
    )


def main() -> None:
    """Run the command line; one line on stderr and exit code 2 for bad input, 130 for an interruption."""
    try:
        app(standalone_mode=False)
    except InputError as error:
        _end(f"error: {error}", 2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _end("error: no space left on the disk; free some and run the same command to continue", 2)
    except UsageError as error:
        _end(f"error: {str(error) or 'no command'}; see --help", 2)
    except (Interrupted, KeyboardInterrupt, typer.Abort) as stop:
        _end(f"stopped: {str(stop) or 'interrupted'}; run the same command to continue", 130)


def _end(message: str, code: int) -> None:
    typer.echo(" ".join(message.split()), err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
