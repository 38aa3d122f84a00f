"""Results on disk: NAME.npz holds the arrays, NAME.json what they are of and what they say.

Both files are written under a temporary name and renamed, the JSON file last; it names the SHA-256 of the arrays. A
process killed at any moment leaves the earlier result, or one that `load` refuses and a new run replaces.
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

PACKAGES = ("merit-lab", "jax", "jaxlib", "numpy", "scipy")


@dataclass(frozen=True, slots=True)
class Saved:
    """A stored experiment.

    Attributes:
        config: of the class ``Config`` of its module.
        result: of the class ``Result`` of its module.
        findings: JSON values by name, as they were when the result was saved.
        seconds: wall-clock of the simulation.
        source_sha256: of the experiment's module as it was.
    """

    config: Any
    result: Any
    findings: dict[str, Any]
    seconds: float
    source_sha256: str


def config_hash(config: Any) -> str:
    """SHA-256 (hex) of a configuration's fields in canonical JSON.

    >>> @dataclass(frozen=True)
    ... class Config:
    ...     seed: int = 0
    >>> config_hash(Config()) == config_hash(Config(seed=0)) != config_hash(Config(seed=1))
    True
    """
    canonical = json.dumps(asdict(config), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def experiment_name(experiment: ModuleType) -> str:
    """Name of an experiment and of its files: that of its module."""
    return experiment.__name__.rpartition(".")[2]


def save(
    folder: Path, experiment: ModuleType, config: Any, result: Any, seconds: float, command: Sequence[str]
) -> None:
    """Write a result and what it is of, over an earlier result of that experiment.

    Args:
        folder: made if it is missing.
        experiment: module with ``Config``, ``Result`` and ``simulate``.
        config: that was simulated.
        result: that came out; its fields are arrays.
        seconds: wall-clock of the simulation.
        command: that led to it, word by word.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = experiment_name(experiment)
    arrays = {field.name: getattr(result, field.name) for field in fields(result)}
    description = {
        "experiment": name,
        "question": (experiment.__doc__ or "").strip(),
        "config": asdict(config),
        "config_sha256": config_hash(config),
        "source_sha256": _source_hash(experiment),
        "findings": result.findings,
        "seconds": round(seconds, 3),
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "command": list(command),
    }
    encoded = json.dumps(description, allow_nan=False)  # a finding that is no JSON value must not cost the old arrays
    _replace(folder / f"{name}.npz", lambda temporary: _write_arrays(temporary, arrays))
    complete = json.loads(encoded) | {"arrays_sha256": _file_hash(folder / f"{name}.npz")}
    text = json.dumps(complete, indent=1, ensure_ascii=False) + "\n"
    _replace(folder / f"{name}.json", lambda temporary: temporary.write_text(text, encoding="utf-8"))


def load(folder: Path, experiment: ModuleType) -> Saved:
    """Read a result that `save` wrote.

    Raises:
        ValueError: it is missing, the two files are not of one run, or the experiment's fields have changed since.
    """
    name = experiment_name(experiment)
    paths = folder / f"{name}.json", folder / f"{name}.npz"
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path} is missing; run python -m simulations {name} --out {folder}")
    remedy = f"remove it and run python -m simulations {name} --out {folder}"
    try:
        description = json.loads(paths[0].read_text(encoding="utf-8"))
        belongs = description["arrays_sha256"] == _file_hash(paths[1])
        config_fields, findings = description["config"], description["findings"]
        seconds, source = description["seconds"], description["source_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{paths[0]} describes no result ({error}); {remedy}") from None
    if not belongs:
        raise ValueError(f"{paths[1]} is not the file that {paths[0].name} describes; {remedy}")
    with np.load(paths[1]) as stored:
        arrays = {key: stored[key] for key in stored.files}
    for made_of, expected in ((config_fields, experiment.Config), (arrays, experiment.Result)):
        if set(made_of) != {field.name for field in fields(expected)}:
            raise ValueError(f"{paths[0]} comes from another version of {name}; {remedy}")
    config = experiment.Config(**{key: _as_field(value) for key, value in config_fields.items()})
    return Saved(config, experiment.Result(**arrays), findings, seconds, source)


def load_if_current(folder: Path, experiment: ModuleType, config: Any) -> Saved | None:
    """The stored result if there is a sound one of exactly this configuration, from the experiment as it is now."""
    try:
        saved = load(folder, experiment)
    except ValueError:
        return None
    same = config_hash(saved.config) == config_hash(config) and saved.source_sha256 == _source_hash(experiment)
    return saved if same else None


def _as_field(value: Any) -> Any:
    """A JSON value as a field of a configuration, whose sequences are tuples."""
    return tuple(_as_field(item) for item in value) if isinstance(value, list) else value


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a temporary file beside ``path`` and rename it, so that ``path`` is never half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _source_hash(experiment: ModuleType) -> str:
    return _file_hash(Path(str(experiment.__file__)))


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
