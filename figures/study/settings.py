"""What runs of a study have in common, and what sets them apart."""

import json
from collections.abc import Sequence
from typing import Any

from figures.origin import origin, recipe_of
from training.errors import InputError
from training.run_directory import RunDirectory

WITHOUT_EFFECT = ("arms", "splits", "operators", "evaluation", "resources")
"""Tables of a recipe that decide which arms there are and how they are measured, and not how each is trained."""


def setting(run: RunDirectory, name: str) -> Any:
    """A setting of the run's recipe by its dotted name, such as ``branch.learning_rate``.

    Raises:
        MissingInput: the run has no recipe.
        InputError: the recipe has no such setting.
    """
    value: Any = recipe_of(run)
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise InputError(f"{run.config} has no {name}; run the recipe again")
        value = value[part]
    return value


def alike_but_for(runs: Sequence[RunDirectory], *names: str) -> list[list[RunDirectory]]:
    """The runs in sets that train alike but for the settings named; in the order given.

    Raises:
        MissingInput: a run has no recipe.
    """
    sets: dict[str, list[RunDirectory]] = {}
    for run in runs:
        recipe = {name: table for name, table in recipe_of(run).items() if name not in WITHOUT_EFFECT}
        for name in names:
            *tables, last = name.split(".")
            inner = recipe
            for table in tables:
                inner = inner.get(table, {})
            inner.pop(last, None)
        sets.setdefault(json.dumps(recipe, sort_keys=True, default=str), []).append(run)
    return list(sets.values())


def common_origin(runs: Sequence[RunDirectory], but: str = "") -> str:
    """Where the numbers of a set of runs come from; of all its seeds where it has several."""
    seeds = list(dict.fromkeys(setting(run, "seed") for run in runs))
    first = origin(runs[0])
    if len(seeds) == 1:
        return first + but
    return first.replace(f", seed {seeds[0]}", f", seeds {', '.join(map(str, seeds))}") + but
