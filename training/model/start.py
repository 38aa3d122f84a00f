"""The base model of a run and the start of its branches."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.config import Precision, StartSettings
from training.run_directory import folder_hash


@dataclass(frozen=True, slots=True)
class PlacedModel:
    """A model of a run: hash of its weights, and the arithmetic that ``auto`` stands for on the run's device."""

    sha256: str
    precision: Precision


def place_start_model(
    settings: StartSettings, folder: Path, device: str, report: Callable[[int], None], stopping: Callable[[], bool]
) -> PlacedModel:
    """Find the model, link it to ``folder`` unless the same weights are there, and hash it.

    Raises:
        InputError: there is no such model, it is not in safetensors, or it is damaged.
    """
    # The driver imports this module for PlacedModel, and must not pay for torch.
    import torch

    from training.model.load import check_readable, find_model, place_model, resolve_precision

    source = find_model(settings.model)
    check_readable(source)
    place_model(source, folder)
    return PlacedModel(folder_hash(folder), resolve_precision(settings.precision, torch.device(device)))
