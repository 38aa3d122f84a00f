"""Command line: ``python -m training run | branch | merge | harness | compare``."""

import os
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
    from training.results.publish import publish

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

    from training.branches.spec import TOKENS_PER_ROW, load_spec
    from training.branches.train import train_branch
    from training.model.load import quieten_transformers
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
    mergekit: Annotated[Path | None, typer.Option(help="file to write the merge to as a recipe for mergekit")] = None,
) -> None:
    """Merge model folders, wherever they were trained."""
    from training.merge.folders import merge_folders
    from training.merge.mergekit_recipe import check_exportable, mergekit_recipe
    from training.merge.registry import make_operator
    from training.run_directory import write_text
    from training.settings_file import parse_overrides

    values, weights = parse_overrides(settings), weight or None
    made = make_operator(operator, values)
    if mergekit is not None:
        check_exportable(made, branch, start)
    report = merge_folders(operator, branch, weights, out, settings=values, start=start)
    if mergekit is not None:
        with full_disk_told(mergekit):
            write_text(mergekit, mergekit_recipe(made, branch, weights, start, out))
    console().print(f"{report.tensors} tensors, {report.seconds:.1f} s, SHA-256 {report.sha256[:16]}: {out}")


@app.command()
def harness(
    run: Annotated[Path, typer.Argument(help="run directory")],
    tasks: Annotated[str, typer.Option(help="tasks, groups or tags of lm-eval, as in arc_easy,mmlu")],
    arm: Annotated[list[str], typer.Option(help="arm of the run; repeat for more; its recipe's if left out")] = [],  # noqa: B006
    limit: Annotated[int | None, typer.Option(min=1, help="first items of each task; all if left out")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="requests in one pass; scores change by rounding alone")] = 4,
    include_path: Annotated[Path | None, typer.Option(help="folder of task files of your own (YAML)")] = None,
    chat_template: Annotated[
        bool, typer.Option("--chat-template", help="ask as messages of a chat; lm-eval's default is plain text")
    ] = False,
) -> None:
    """Evaluate arms on benchmarks of lm-evaluation-harness (extra merit-lab[harness]), with paired intervals."""
    shown = console()
    if not shown.is_terminal:
        os.environ.setdefault("TQDM_DISABLE", "1")  # before tqdm is imported: lm-eval's bars are for terminals
    from training.harness.command import Asked, run_harness
    from training.model.load import quieten_transformers

    quieten_transformers()
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    with full_disk_told(run):
        run_harness(run, Asked(names, arm, limit, batch_size, include_path, chat_template), shown)


@app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="run directories; those over the same tasks are seeds of a mixture")
    ],
    arm: Annotated[str, typer.Option(help="arm that every run evaluated")],
    against: Annotated[list[str], typer.Option(help="control, repeat for each; random-2 pools random-2-s1, -s2, …")],
    metric: Annotated[str, typer.Option(help="loss, unseen (loss of unseen tasks) or match (exact match)")] = "loss",
    json: Annotated[Path | None, typer.Option(help="write everything to this file")] = None,
) -> None:
    """Compare an arm with its controls over several runs: intervals, tests, and what could have been seen."""
    from training.results.comparison import compare_runs
    from training.results.comparison_page import comparison_table, sentences
    from training.run_directory import write_json

    comparison = compare_runs(runs, arm, against, metric)
    shown = console()
    shown.print(comparison_table(comparison))
    for sentence in sentences(comparison):
        shown.print(sentence)
    if json is not None:
        write_json(json, comparison.as_json())


def main() -> None:
    """Run the command line; exit codes as in :func:`training.command_line.run_command`."""
    run_command(app)


if __name__ == "__main__":
    main()
