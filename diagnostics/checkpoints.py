"""The models a report is about: the start, the branches, what they were merged into, and joint training beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.errors import InputError
from training.merge.model_folder import open_model
from training.merge.weights import check_weights
from training.model.load import check_readable
from training.run_directory import BranchDirectory


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Model folders of one architecture, by the part they play.

    Attributes:
        start: where the branches began.
        branches: what was merged.
        weights: the merge weights, one per branch, sum one.
        merged: what the branches were merged into.
        joint: trained on all tasks with as many tokens; None where there is none.
        joint_equal_steps: trained on all tasks with as many steps; None where there is none.
        trajectories: where each branch and joint left their displacement over training; empty for models given one by
            one. Keys are those of :attr:`folders`.
    """

    start: Path
    branches: tuple[Path, ...]
    weights: tuple[float, ...]
    merged: Path
    joint: Path | None = None
    joint_equal_steps: Path | None = None
    trajectories: Mapping[str, BranchDirectory] | None = None

    @property
    def branch_names(self) -> tuple[str, ...]:
        """What the branches are called here: ``branch-1``, ``branch-2`` and so on."""
        return tuple(f"branch-{number}" for number in range(1, len(self.branches) + 1))

    @property
    def folders(self) -> dict[str, Path]:
        """Every model by name: ``start``, the branches, ``merged``, and ``joint`` and ``joint-equal-steps`` if any."""
        given = {"start": self.start, **dict(zip(self.branch_names, self.branches, strict=True)), "merged": self.merged}
        references = {"joint": self.joint, "joint-equal-steps": self.joint_equal_steps}
        return given | {name: folder for name, folder in references.items() if folder is not None}

    def check(self) -> None:
        """Compare configurations and headers of the weight files: what cannot be compared is refused before any work.

        Raises:
            InputError: a folder that cannot be read, weights that do not fit the branches, or models that differ in a
                tensor's name or shape.
        """
        if len(self.branches) < 2:
            raise InputError(f"{len(self.branches)} branches are no merge; give two or more")
        check_weights(self.weights, len(self.branches))
        shapes = {}
        for name, folder in self.folders.items():
            if not (folder / "config.json").is_file():
                raise InputError(f"{name}: no config.json in {folder}; give a folder written by save_pretrained")
            check_readable(folder)
            with open_model(folder) as tensors:
                shapes[name] = {tensor.name: tensor.shape for tensor in tensors.values()}
        _check_same_shapes(self.folders, shapes)


def _check_same_shapes(folders: Mapping[str, Path], shapes: Mapping[str, Mapping[str, Sequence[int]]]) -> None:
    first = next(iter(folders))
    for name, own in shapes.items():
        if different := own.keys() ^ shapes[first].keys():
            tensor = min(different)
            holder, other = (name, first) if tensor in own else (first, name)
            raise InputError(
                f"{folders[other]} lacks tensor {tensor!r}, which {folders[holder]} holds; diagnostics compare "
                "checkpoints of one model"
            )
        for tensor, shape in own.items():
            if shape != shapes[first][tensor]:
                raise InputError(
                    f"tensor {tensor!r} is {[*shape]} in {folders[name]} but {[*shapes[first][tensor]]} in "
                    f"{folders[first]}; diagnostics compare checkpoints of one model"
                )
