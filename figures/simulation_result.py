"""What an experiment on the theory found, as its two files hold it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import InputError, MissingInput
from training.run_directory import file_hash, read_json


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """A stored experiment.

    Attributes:
        name: of the experiment.
        arrays: fields of its ``Result``, whose docstring gives their shapes, by name.
        config: fields of its ``Config`` by name.
        findings: what the experiment says of its arrays.
    """

    name: str
    arrays: Mapping[str, NDArray[Any]]
    config: Mapping[str, Any]
    findings: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path, name: str) -> "SimulationResult":
        """Read ``NAME.json`` and ``NAME.npz``.

        Raises:
            MissingInput: the experiment was not run.
            InputError: the two files do not belong together.
        """
        described, stored = folder / f"{name}.json", folder / f"{name}.npz"
        remedy = f"python -m simulations {name} --out {folder}"
        if not (described.is_file() and stored.is_file()):
            raise MissingInput(f"{folder} holds no result of {name}; run {remedy}")
        description = read_json(described)
        if description.get("arrays_sha256") != file_hash(stored):
            raise InputError(f"{stored} is not the file that {described.name} describes; remove it and run {remedy}")
        with np.load(stored) as arrays:
            return cls(name, dict(arrays), description["config"], description["findings"])
