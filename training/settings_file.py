"""Settings as frozen pydantic models read from TOML, with overrides. An unknown key is an error, never ignored."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from training.errors import InputError

SHOWN = 80
"""Characters of a wrong value that are shown."""


class Settings(BaseModel):
    """Base of every table: frozen, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=Settings)


def read_settings(model: type[Model], path: Path, overrides: Sequence[str], kind: str) -> Model:
    """Read a TOML file as ``model`` and apply ``key.path=value`` overrides; ``kind`` says in errors what the file is.

    Raises:
        InputError: no such file, invalid TOML, an unknown key or a wrong type.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{kind} {path} is missing; give a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{kind} {path} is not valid TOML: {error}") from None
    for override in overrides:
        _apply(values, override)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{kind} {path}: {first_problem(error, kind)}") from None


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """The values that ``key.path=value`` overrides give; each is read as TOML, and as text where it is none.

    Raises:
        InputError: one is not of that form.

    >>> parse_overrides(["scale=0.5", "head=mean"])
    {'scale': 0.5, 'head': 'mean'}
    """
    values: dict[str, Any] = {}
    for override in overrides:
        _apply(values, override)
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise InputError(f"--set {override!r} is not of the form key.path=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.strip().split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise InputError(f"--set {override!r}: {table!r} is a value, not a table")
    values[last] = value


def first_problem(error: ValidationError, kind: str) -> str:
    """What is wrong first, and where; ``kind`` names the whole."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"]) or kind
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"unknown key {where}; remove it or correct its spelling"
    given = problem["input"]
    return f"{where}: {message}" + ("" if isinstance(given, dict | list) else f" (got {str(given)[:SHOWN]!r})")
