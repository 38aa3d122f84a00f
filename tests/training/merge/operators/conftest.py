"""Merging dictionaries of arrays through folders, as every operator is run."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from training.merge.folders import merge_folders

State = Mapping[str, np.ndarray]


class Merge(Protocol):
    """Runs an operator; what it returns holds the merged tensors by name."""

    def __call__(
        self,
        operator: str,
        branches: Sequence[State],
        start: State | None = None,
        weights: Sequence[float] | None = None,
        moments: Sequence[State] | None = None,
        **settings: Any,
    ) -> dict[str, np.ndarray]: ...


@pytest.fixture(scope="session")
def merge(tmp_path_factory: pytest.TempPathFactory) -> Merge:
    root, numbers = tmp_path_factory.mktemp("merges"), itertools.count()

    def run(
        operator: str,
        branches: Sequence[State],
        start: State | None = None,
        weights: Sequence[float] | None = None,
        moments: Sequence[State] | None = None,
        **settings: Any,
    ) -> dict[str, np.ndarray]:
        place = root / str(next(numbers))
        folders = [place / f"b{k}" / "model" for k in range(len(branches))]
        states = [*zip(folders, branches, strict=True)]
        if start is not None:
            states.append((place / "start", start))
        for folder, state in states:
            folder.mkdir(parents=True)
            (folder / "config.json").write_text(json.dumps({}))
            save_file(dict(state), folder / "model.safetensors")
        for folder, state in zip(folders, moments or (), strict=False):
            save_file(dict(state), folder.parent / "second_moments.safetensors")
        merge_folders(
            operator,
            folders,
            weights,
            place / "out",
            settings=settings,
            start=None if start is None else place / "start",
        )
        return load_file(place / "out" / "model.safetensors")

    return run
