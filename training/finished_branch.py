"""Whether a branch is finished: trained to its end, with everything it left still whole."""

from typing import Any

from training.intact import is_intact_model, is_intact_npz, read_sealed
from training.run_directory import BranchDirectory


def finished_branch(paths: BranchDirectory, spec_hash: str) -> dict[str, Any] | None:
    """What ``done.json`` says of the branch with this spec; None where it has to be trained, or trained again."""
    done = read_sealed(paths.done)
    if done is None or done["spec"] != spec_hash:
        return None
    whole = is_intact_model(paths.model, done) and is_intact_npz(paths.displacement)
    return done if whole else None
