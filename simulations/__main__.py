"""Command line: ``python -m simulations NAME|all --out DIR``."""

import json
import sys
import time
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import jax
import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from simulations import (
    centring,
    drift_corrected_merge,
    heterogeneous_hessians,
    learning_rate_sweep,
    least_drift_split,
    merged_against_gain,
    recursive_splits,
    sign_descent_cancellation,
    small_network,
    spectral_filtering,
    split_rules,
    swap_on_gram,
    unbalanced_groups,
)
from simulations.findings_table import findings_table
from simulations.storage import experiment_name, load_if_current, save

EXPERIMENTS: tuple[ModuleType, ...] = (
    split_rules,
    centring,
    merged_against_gain,
    recursive_splits,
    spectral_filtering,
    learning_rate_sweep,
    heterogeneous_hessians,
    drift_corrected_merge,
    least_drift_split,
    swap_on_gram,
    unbalanced_groups,
    sign_descent_cancellation,
    small_network,
)
NAMES = tuple(experiment_name(experiment) for experiment in EXPERIMENTS)

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

UsageError: Any = typer.BadParameter.__base__
"""Typer brings its own copy of click or uses the installed one, by version; this is the right one's."""


@app.command()
def simulate(
    name: Annotated[str, typer.Argument(help=f"all, or one of {', '.join(NAMES)}")],
    out: Annotated[Path, typer.Option(help="folder for NAME.npz and NAME.json; results of the same settings are kept")],
    seed: Annotated[int | None, typer.Option(help="seed of everything random")] = None,
    settings: Annotated[list[str], typer.Option("--set", help="field=value of one experiment's Config")] = [],  # noqa: B006
) -> None:
    """Run experiments on the theory, save them, and print what they found."""
    if settings and name == "all":
        raise typer.BadParameter("--set changes a field of one experiment; name it instead of all")
    overrides = [*settings, *([] if seed is None else [f"seed={seed}"])]
    try:
        experiments = _select(name)
        configs = [configured(experiment, overrides) for experiment in experiments]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    jax.config.update("jax_enable_x64", True)
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    for experiment, config in zip(experiments, configs, strict=True):
        _run(experiment, config, out, console)


def _select(name: str) -> list[ModuleType]:
    if name not in (*NAMES, "all"):
        raise ValueError(f"there is no experiment {name!r}; name all or one of {', '.join(NAMES)}")
    return [experiment for experiment in EXPERIMENTS if name in (experiment_name(experiment), "all")]


def configured(experiment: ModuleType, settings: list[str]) -> Any:
    """The experiment's configuration with some fields changed.

    Args:
        experiment: module with ``Config``.
        settings: ``field=value``, the value a JSON value of the field's type; the last one of a field counts.

    Raises:
        ValueError: a field is unknown or its value does not fit.
    """
    known = [field.name for field in fields(experiment.Config)]
    chosen: dict[str, Any] = {}
    for setting in settings:
        field, equals, value = setting.partition("=")
        if not equals or field not in known:
            raise ValueError(
                f"{setting!r} sets no field of {experiment_name(experiment)}; use field=value with one of {known}"
            )
        try:
            chosen[field] = json.loads(value)
        except ValueError:
            chosen[field] = value
    try:
        return TypeAdapter(experiment.Config).validate_python(chosen)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        raise ValueError(f"{experiment_name(experiment)}: {where}: {first['msg']}") from None


def _run(experiment: ModuleType, config: Any, out: Path, console: Console) -> None:
    """One experiment: simulate it unless its result is there, and print its findings."""
    name = experiment_name(experiment)
    kept = load_if_current(out, experiment, config)
    if kept is not None:
        findings, told = kept.findings, f"kept, the same settings took {kept.seconds:.1f} s"
    else:
        began = time.perf_counter()
        with console.status(f"{name} …"):
            result = experiment.simulate(config)
        seconds = time.perf_counter() - began
        save(out, experiment, config, result, seconds, ["python", "-m", "simulations", *sys.argv[1:]])
        findings, told = result.findings, f"{seconds:.1f} s"
    console.print(f"{name}: {told}: {out / name}.npz")
    console.print(findings_table(findings))


def main() -> None:
    """Run the command line; one line on stderr and exit code 2 for bad input, 130 for an interruption."""
    try:
        app(standalone_mode=False)
    except UsageError as error:
        _end(f"error: {error}", 2)
    except OSError as error:
        _end(f"error: {error.filename}: {error.strerror}; give an --out that can be written", 2)
    except (KeyboardInterrupt, typer.Abort):
        _end("stopped; run the same command to continue, finished experiments are kept", 130)


def _end(message: str, code: int) -> None:
    typer.echo(" ".join(line.strip() for line in message.splitlines()), err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
