"""Command line: ``python -m training run | branch | merge``."""

import re
from pathlib import Path
from typing import Annotated

import typer

from training.command_line import console, run_command
from training.errors import InputError
from training.full_disk import full_disk_told

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Split a mixture of tasks along its conflicts, tune the parts alone, merge them once, and compare.",
)

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

    shown = console()
    budget = None if time_budget is None else _seconds(time_budget)
    with full_disk_told(out):
        summary = run_recipe(load_recipe(recipe, overrides), out, Progress(shown), budget)
        publish(summary, out, shown)


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

    shown = console()
    torch.set_num_threads(1)
    quieten_transformers()
    tokens = TOKENS_PER_ROW * load_spec(spec).examples
    with full_disk_told(out), Progress(shown).jobs("branch", [(spec.parent.name, tokens)]) as bars:
        done = train_branch(spec, out, device, lambda tokens: bars.advance(0, tokens), lambda: False)
    shown.print(f"{done['steps']} steps, {done['tokens']} tokens, {done['seconds']:.1f} s: {out / 'model'}")


@app.command()
def merge(
    branch: Annotated[list[Path], typer.Option(help="model folder of a branch; repeat for each")],
    out: Annotated[Path, typer.Option(help="model folder to write")],
    operator: Annotated[str, typer.Option(help="merge operator")] = "linear",
    weight: Annotated[list[float], typer.Option(help="one per branch; equal weights if left out")] = [],  # noqa: B006
    start: Annotated[Path | None, typer.Option(help="model folder the branches began from")] = None,
    settings: Annotated[list[str], typer.Option("--set", help="key=value of the operator, as in density=0.1")] = [],  # noqa: B006
) -> None:
    """Merge model folders, wherever they were trained."""
    from training.merge.folders import merge_folders
    from training.settings_file import parse_overrides

    report = merge_folders(operator, branch, weight or None, out, settings=parse_overrides(settings), start=start)
    console().print(f"{report.tensors} tensors, {report.seconds:.1f} s, SHA-256 {report.sha256[:16]}: {out}")


def main() -> None:
    """Run the command line; exit codes as in :func:`training.command_line.run_command`."""
    run_command(app)


if __name__ == "__main__":
    main()
