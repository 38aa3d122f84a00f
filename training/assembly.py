"""From trained branches to the model of an arm: one branch is linked, several are merged."""

from collections.abc import Callable, Sequence
from pathlib import Path

from training.intact import companions_hash, is_intact_model, read_sealed, write_sealed
from training.merge.folders import merge_folders
from training.merge.weights import token_weights, uniform_weights
from training.model import place_model
from training.run_directory import BranchDirectory, RunDirectory, content_hash, read_json


def assemble_arm(
    root: Path,
    name: str,
    branches: Sequence[str],
    uniform: bool,
    base_model: str | None,
    device: str,
    report: Callable[[int], None],
    stopping: Callable[[], bool],
) -> None:
    """Write ``arms/NAME`` of the run directory ``root`` from the branches of these hashes.

    Nothing happens when the arm stands there already, made of the same weights.

    Raises:
        InputError: branches that cannot be merged.
    """
    run = RunDirectory(root)
    folders = [BranchDirectory(run.branch(branch)) for branch in branches]
    done = [read_json(folder.done) for folder in folders]
    weights = uniform_weights(len(done)) if uniform else token_weights([entry["tokens"] for entry in done])
    key = content_hash([[entry["sha256"] for entry in done], list(weights), "linear"])
    record, model = run.arm(name) / "arm.json", run.arm(name) / "model"
    standing = read_sealed(record)
    if standing is not None and standing["key"] == key and is_intact_model(model, standing):
        return
    if len(folders) == 1:
        place_model(folders[0].model, model)
        sha256 = done[0]["sha256"]
    else:
        tasks = [entry["tasks"] for entry in done]
        context = {"base_model": base_model, "tasks": tasks, "arm": name}
        sha256 = merge_folders(
            "linear", [folder.model for folder in folders], weights, model, provenance=context
        ).sha256
    write_sealed(
        record,
        {
            "key": key,
            "branches": list(branches),
            "weights": list(weights),
            "operator": "linear" if len(folders) > 1 else None,
            "sha256": sha256,
            "companions_sha256": companions_hash(model),
        },
    )
