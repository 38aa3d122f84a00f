"""Whether a branch is finished: trained to its end, with everything it left still whole."""

from collections.abc import Mapping
from typing import Any

from training.branches.spec import KeptMoments
from training.intact import is_intact_model, is_intact_npz, read_sealed
from training.run_directory import BranchDirectory, file_hash


def finished_branch(
    paths: BranchDirectory, spec_hash: str, second_moments: KeptMoments = "none"
) -> dict[str, Any] | None:
    """What ``done.json`` says of the branch with this spec; None where it has to be trained, or trained again.

    A branch that ended without the second moments that are wanted now, or with them in another form, is trained again:
    they went with Adam's state, and nothing else can tell them. One that kept them is finished for those who want none.
    """
    done = read_sealed(paths.done)
    if done is None or done["spec"] != spec_hash:
        return None
    whole = is_intact_model(paths.model, done) and is_intact_npz(paths.displacement)
    return done if whole and _keeps(paths, done, second_moments) else None


def _keeps(paths: BranchDirectory, done: Mapping[str, Any], form: KeptMoments) -> bool:
    if form == "none":
        return True
    kept = done.get("second_moments")
    if kept is None or kept["form"] != form or "reach" not in done or not paths.second_moments.is_file():
        return False
    return file_hash(paths.second_moments) == kept["sha256"]
