"""From trained branches to the model of an arm: one branch is linked, several are merged, and either may be scaled."""

import shutil
from collections.abc import Callable
from pathlib import Path

from training.arms.merges import Merge
from training.intact import companions_hash, is_intact_model, read_sealed, write_sealed
from training.merge.distance import distance
from training.merge.folders import merge_folders
from training.model.load import place_model
from training.run_directory import RunDirectory, folder_hash


def assemble_arm(
    root: Path,
    name: str,
    merge: Merge,
    base_model: str | None,
    device: str,
    report: Callable[[int], None],
    stopping: Callable[[], bool],
) -> None:
    """Write ``arms/NAME`` of the run directory ``root``.

    Nothing happens when the arm stands there already, made of the same weights in the same way.

    Raises:
        InputError: branches that cannot be merged.
    """
    run = RunDirectory(root)
    record, model = run.arm(name) / "arm.json", run.arm(name) / "model"
    standing = read_sealed(record)
    if standing is not None and standing["key"] == merge.key and is_intact_model(model, standing):
        return
    is_one = len(merge.models) == 1 and merge.operator.name == "linear"
    if is_one:
        place_model(merge.models[0], model)
    else:
        if not (model / "provenance.json").is_file():
            shutil.rmtree(model, ignore_errors=True)  # what was ours and is damaged would pass for somebody's own
        merge_folders(
            merge.operator.name,
            merge.models,
            merge.weights,
            model,
            settings=merge.operator.model_dump(),
            start=run.start if merge.operator.needs_start else None,
            provenance={"base_model": base_model, "tasks": merge.tasks, "arm": name},
        )
    write_sealed(
        record,
        {
            "key": merge.key,
            "branches": list(merge.branches),
            "weights": list(merge.average),
            "operator": None if is_one else merge.operator.name,
            "settings": merge.operator.model_dump(mode="json"),
            "displacement": distance(model, run.start),
            "sha256": folder_hash(model),
            "companions_sha256": companions_hash(model),
        },
    )
