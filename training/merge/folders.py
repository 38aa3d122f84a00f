"""From model folders to a merged model folder that ``from_pretrained`` loads and that says what it is."""

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.environment import usable_cores
from training.errors import InputError
from training.full_disk import full_disk_told
from training.merge.agreement import check_agreement, check_start
from training.merge.inputs import MergeInputs
from training.merge.model_card import model_card
from training.merge.model_folder import INDEX_FILE, copy_companions, open_model
from training.merge.operator import Operator
from training.merge.provenance import distinct_names, weight_hashes, weights_hash
from training.merge.recorded_start import check_same_start
from training.merge.registry import make_operator
from training.merge.safetensors_file import create
from training.merge.second_moments import open_second_moments
from training.merge.shards import MAX_SHARD_BYTES, index, split_into_shards
from training.merge.streaming import Waiting, merge_tensor
from training.merge.weights import check_weights, uniform_weights
from training.run_directory import replacing_folder, write_json, write_text

THREADS = min(4, usable_cores())


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge did.

    Attributes:
        sha256: hash over the names and hashes of the weight files written, as ``run_directory.folder_hash``.
        bytes_read: size of all inputs' tensors in bytes.
        bytes_written: size of the merged tensors in bytes.
        seconds: wall time of everything, hashing included.
        hashing_seconds: wall time of hashing all weight files, inputs and output.
        tensors: number of tensors written.
        copied: how many of them were the same bit for bit in all inputs.
    """

    sha256: str
    bytes_read: int
    bytes_written: int
    seconds: float
    hashing_seconds: float
    tensors: int
    copied: int


def merge_folders(
    operator_name: str,
    branches: Sequence[Path],
    weights: Sequence[float] | None,
    out: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    start: Path | None = None,
    provenance: Mapping[str, Any] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> MergeReport:
    """Merge model folders into the folder ``out``, which appears whole or not at all.

    Configuration, tokenizer and chat template are those of the first branch; ``provenance.json`` and a model card are
    written anew. A merged model that stands at ``out`` is replaced.

    Args:
        operator_name: a key of ``registry.OPERATORS``.
        branches: folders of the branches.
        weights: one weight per branch; equal ones where None. Only operators that take weights may be given any.
        out: the folder to write.
        settings: of the operator; what is left out has the value of its paper.
        start: folder of the model all branches began from; read only by operators that need it.
        provenance: JSON values of the caller, kept under ``context`` in ``provenance.json``. ``base_model`` (a hub
            name) and ``tasks`` (a list of names per branch) also go to the model card.
        max_shard_bytes: the most tensor bytes in one weight file, unless one tensor has more.

    Raises:
        InputError: the inputs cannot be merged, or there is no space; ``out`` is as it was.
    """
    began = time.perf_counter()
    operator = make_operator(operator_name, settings or {})
    weights = _weights(operator, weights, len(branches))
    inputs = list(branches)
    if operator.needs_start:
        if start is None:
            raise InputError(
                f"operator {operator_name!r} needs the model that the branches began from; give its folder"
            )
        inputs.append(start)
    _check_target(out, inputs)
    names = distinct_names(inputs)
    # A mistake in the caller's values shows here, before the work.
    context = json.loads(json.dumps(dict(provenance or {}), allow_nan=False))
    card = model_card(
        operator_name,
        names[: len(branches)],
        weights if operator.takes_weights else None,
        base_model=context.get("base_model"),
        tasks=context.get("tasks"),
    )

    with (
        full_disk_told(out),
        contextlib.ExitStack() as opened,
        replacing_folder(out) as folder,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        models = [opened.enter_context(open_model(path)) for path in inputs]
        check_agreement(branches, models[: len(branches)])
        if operator.needs_start:
            check_start(inputs[-1], models[-1], branches[0], models[0])
        check_same_start(branches, start)
        moments = None
        if operator.needs_second_moments:
            moments = tuple(opened.enter_context(open_second_moments(path)) for path in branches)
        streams = MergeInputs(
            weights=weights,
            branches=tuple(models[: len(branches)]),
            start=models[-1] if operator.needs_start else None,
            second_moments=moments,
            pool=pool,
            opened=opened,
        )
        plan = operator.plan(streams)
        shards = split_into_shards(models[0].values(), max_shard_bytes)
        copied = 0
        for shard in shards:
            positions = create(folder / shard.file, shard.tensors)
            with open(folder / shard.file, "r+b", buffering=0) as file:
                waiting = Waiting()
                for name, position in positions.items():
                    copied += merge_tensor(plan, streams, name, file, position, waiting)
                waiting.finish()
        if len(shards) > 1:
            write_json(folder / INDEX_FILE, index(shards))

        merged = time.perf_counter()
        read = [[tensor.path for tensor in model.values()] for model in models]
        *sources, files = weight_hashes([*read, [folder / shard.file for shard in shards]], pool)
        hashed = time.perf_counter()

        size = sum(tensor.nbytes for tensor in models[0].values())
        report = MergeReport(
            sha256=weights_hash(files),
            bytes_read=size * len(models),
            bytes_written=size,
            seconds=hashed - began,
            hashing_seconds=hashed - merged,
            tensors=len(models[0]),
            copied=copied,
        )
        described = [{"name": name, "sha256": source} for name, source in zip(names, sources, strict=True)]
        copy_companions(branches[0], folder)  # first: the branch's own card and provenance are written over
        write_text(folder / "README.md", card)
        write_json(
            folder / "provenance.json",
            {
                "operator": operator_name,
                "settings": operator.model_dump(mode="json"),
                "weights": list(weights) if operator.takes_weights else None,
                "branches": described[: len(branches)],
                "start": described[-1] if operator.needs_start else None,
                "output": {**asdict(report), "files": files},
                "context": context,
            },
        )
    return report


def _weights(operator: Operator, given: Sequence[float] | None, branches: int) -> tuple[float, ...]:
    if branches == 0:
        raise InputError("there is nothing to merge; give at least one branch")
    if given is None:
        return uniform_weights(branches)
    if not operator.takes_weights:
        raise InputError(f"operator {operator.name!r} takes no weights; leave them out")
    check_weights(given, branches)
    return tuple(map(float, given))


def _check_target(out: Path, inputs: Sequence[Path]) -> None:
    for path in inputs:
        if path.resolve().is_relative_to(out.resolve()):
            raise InputError(f"{out} is or holds the input {path} and would be replaced; choose another output folder")
    replaceable = out.is_dir() and ((out / "provenance.json").is_file() or not any(out.iterdir()))
    if out.exists() and not replaceable:
        raise InputError(f"{out} exists and is no merged model; remove it or choose another output folder")
