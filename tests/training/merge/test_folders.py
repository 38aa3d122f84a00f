import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from training.errors import InputError
from training.merge import folders, streaming
from training.merge.distance import distance
from training.merge.folders import merge_folders
from training.merge.safetensors_file import read_tensors
from training.merge.streaming import Waiting
from training.run_directory import file_hash, folder_hash

State = dict[str, torch.Tensor]
WEIGHTS = (0.4, 0.3, 0.2, 0.1)


def save(folder: Path, state: State, shards: int = 1, config: dict[str, object] | None = None) -> Path:
    """Write a model folder; with several shards, tensors are dealt out in turn."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config or {}))
    if shards == 1:
        save_file(state, folder / "model.safetensors")
        return folder
    weight_map = {name: f"part-{number % shards}.safetensors" for number, name in enumerate(state)}
    for shard in set(weight_map.values()):
        save_file({name: state[name] for name in state if weight_map[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def load(folder: Path) -> State:
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def branch(seed: int, dtype: torch.dtype = torch.float32, size: int = 7, distance: float = 1e-2) -> State:
    """A branch near the one start: two matrices, a scalar, an empty and a frozen tensor, two integer buffers."""
    start, generator = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed + 1)

    def near(*shape: int) -> torch.Tensor:
        value = torch.randn(shape, generator=start, dtype=torch.float64)
        return (value + distance * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)

    return {
        "a.weight": near(size, 5),
        "b.weight": near(3, size),
        "scale": near(),
        "empty": near(0, 4),
        "frozen": torch.full((9,), 0.1, dtype=dtype),
        "positions": torch.arange(6),
        "mask": torch.tensor([True, False, True]),
    }


def exact(states: list[State], name: str, weights: tuple[float, ...] = WEIGHTS) -> torch.Tensor:
    return sum((w * s[name].double() for w, s in zip(weights, states, strict=True)), torch.zeros(()).double())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_error_is_within_two_percent_of_correct_rounding(tmp_path: Path, dtype: torch.dtype) -> None:
    states = [branch(k, dtype, size=60_000) for k in range(4)]
    merge_folders("linear", [save(tmp_path / str(k), s) for k, s in enumerate(states)], WEIGHTS, tmp_path / "out")
    merged = load(tmp_path / "out")
    for name in ("a.weight", "b.weight"):
        average = exact(states, name)
        assert merged[name].dtype == dtype
        if dtype == torch.float64:
            assert (merged[name] - average).abs().max() <= 4 * np.finfo(np.float64).eps * average.abs().max()
            continue
        unavoidable = (average.to(dtype).double() - average).square().mean().sqrt()
        assert (merged[name].double() - average).square().mean().sqrt() <= 1.02 * unavoidable


@settings(deadline=None, max_examples=20)
@given(
    shards=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    max_shard_bytes=st.sampled_from([1, 64, 150, 10**9]),
    dtype=st.sampled_from([torch.bfloat16, torch.float32]),
)
def test_the_layout_of_files_does_not_change_the_merge(
    tmp_path_factory: pytest.TempPathFactory, shards: list[int], max_shard_bytes: int, dtype: torch.dtype
) -> None:
    root = tmp_path_factory.mktemp("layout")
    weights = [1 / len(shards)] * len(shards)
    single = [save(root / f"single-{k}", branch(k, dtype)) for k in range(len(shards))]
    sharded = [save(root / f"sharded-{k}", branch(k, dtype), count) for k, count in enumerate(shards)]
    merge_folders("linear", single, weights, root / "one")
    report = merge_folders("linear", sharded, weights, root / "many", max_shard_bytes=max_shard_bytes)
    one, many = load(root / "one"), load(root / "many")
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    assert report.sha256 == folder_hash(root / "many")

    files = sorted(path.name for path in (root / "many").glob("*.safetensors"))
    if len(files) == 1:
        assert files == ["model.safetensors"]
        assert not (root / "many" / "model.safetensors.index.json").exists()
        return
    index = json.loads((root / "many" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in one.values()) == report.bytes_written
    assert files == [f"model-{k:05d}-of-{len(files):05d}.safetensors" for k in range(1, len(files) + 1)]
    room = 0
    for file in files:
        with safe_open(root / "many" / file, "pt") as opened:
            assert set(opened.keys()) == {name for name, shard in index["weight_map"].items() if shard == file}
            assert opened.metadata() == {"format": "pt"}
        with open(root / "many" / file, "rb", buffering=0) as opened:
            tensors = list(read_tensors(opened).values())
        assert tensors[0].nbytes > room  # or it would stand in the file before
        room = max_shard_bytes - sum(tensor.nbytes for tensor in tensors)
        assert room >= 0 or [tensor.nbytes for tensor in tensors if tensor.nbytes] == [max_shard_bytes - room]


def test_every_tensor_is_aligned_to_its_type_whatever_its_name(tmp_path: Path) -> None:
    state = {"a": torch.ones(3, dtype=torch.bool), "b": torch.ones(3).half(), "c": torch.ones(3), "d": torch.arange(3)}
    merge_folders("linear", [save(tmp_path / "in", state)], (1.0,), tmp_path / "out")
    with open(tmp_path / "out" / "model.safetensors", "rb", buffering=0) as file:
        assert all(t.offset % t.element.storage.itemsize == 0 for t in read_tensors(file).values())


def test_chunks_and_threads_do_not_change_the_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    branches = [save(tmp_path / str(k), branch(k, torch.bfloat16, size=500)) for k in range(4)]
    whole = merge_folders("linear", branches, WEIGHTS, tmp_path / "whole")
    monkeypatch.setattr("training.merge.inputs.STACK_BYTES", 4 * 4 * 13)
    monkeypatch.setattr(folders, "THREADS", 1)
    assert merge_folders("linear", branches, WEIGHTS, tmp_path / "chunks").sha256 == whole.sha256


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_branch_of_weight_one_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    states = [branch(k, dtype) for k in range(2)]
    states[0]["a.weight"][0] = -0.0
    branches = [save(tmp_path / str(k), state) for k, state in enumerate(states)]
    for k, weights in enumerate([(1.0, 0.0), (0.0, 1.0)]):
        merge_folders("linear", branches, weights, tmp_path / "out")
        for name, tensor in load(tmp_path / "out").items():
            assert torch.equal(tensor.flatten().view(torch.uint8), states[k][name].flatten().view(torch.uint8))


def test_identical_inputs_are_copied_whatever_the_weights(tmp_path: Path) -> None:
    state = branch(0)
    branches = [save(tmp_path / str(k), state) for k in range(3)]
    report = merge_folders("linear", branches, (0.1, 0.2, 0.7), tmp_path / "out")
    assert report.copied == report.tensors == len(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in load(tmp_path / "out").items())


def test_only_what_is_the_same_in_every_branch_counts_as_copied(tmp_path: Path) -> None:
    branches = [save(tmp_path / str(number), branch(seed)) for number, seed in enumerate((0, 0, 1))]
    report = merge_folders("linear", branches, (0.5, 0.25, 0.25), tmp_path / "out")
    assert report.copied == 4  # empty, frozen and the two buffers


def test_one_branch_is_copied(tmp_path: Path) -> None:
    state = branch(0)
    merge_folders("linear", [save(tmp_path / "a", state)], (1.0,), tmp_path / "out")
    assert all(torch.equal(tensor, state[name]) for name, tensor in load(tmp_path / "out").items())


def test_the_report_and_the_provenance_identify_inputs_and_output(tmp_path: Path) -> None:
    branches = [save(tmp_path / name / "model", branch(k), 2) for k, name in enumerate(("left", "right"))]
    out = tmp_path / "out"
    caller = {"base_model": "org/base", "tasks": [["sum"], ["sort"]], "run": 7}
    report = merge_folders("linear", branches, (0.25, 0.75), out, provenance=caller)
    told = json.loads((out / "provenance.json").read_text())
    assert report.sha256 == folder_hash(out) == told["output"]["sha256"]
    assert told["output"]["files"] == {"model.safetensors": file_hash(out / "model.safetensors")}
    assert told["operator"] == "linear"
    assert told["weights"] == [0.25, 0.75]
    assert told["start"] is None
    assert told["context"] == caller
    assert [source["name"] for source in told["branches"]] == ["left/model", "right/model"]
    for folder, source in zip(branches, told["branches"], strict=True):
        assert source["sha256"] == {path.name: file_hash(path) for path in folder.glob("*.safetensors")}
    assert report.bytes_read == 2 * report.bytes_written == 2 * sum(t.nbytes for t in branch(0).values())
    assert report.tensors == 7
    assert 0 < report.hashing_seconds < report.seconds
    assert 'base_model: "org/base"' in (out / "README.md").read_text()
    assert "| left/model | 0.25 | sum |" in (out / "README.md").read_text()


def test_companions_come_from_the_first_branch_without_weights_or_history(tmp_path: Path) -> None:
    branches = [save(tmp_path / str(k), branch(k), 2, {"branch": k}) for k in range(2)]
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        (branches[0] / name).write_text(name)
    for name in ("README.md", "provenance.json", "pytorch_model.bin", "pytorch_model.bin.index.json", "optimizer.pt"):
        (branches[0] / name).write_text("stale")
    (branches[0] / "checkpoint").mkdir()
    merge_folders("linear", branches, (0.5, 0.5), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "provenance.json",
        "tokenizer.json",
    }
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {"branch": 0}
    assert "stale" not in (tmp_path / "out" / "README.md").read_text()


def test_a_tied_head_that_some_branch_stores_is_dropped(tmp_path: Path) -> None:
    tied = {"tie_word_embeddings": True}
    states = [{"model.embed_tokens.weight": torch.randn(6, 4)} for _ in range(2)]
    states[0]["lm_head.weight"] = states[0]["model.embed_tokens.weight"].clone()
    branches = [save(tmp_path / str(k), state, config=tied) for k, state in enumerate(states)]
    merge_folders("linear", branches, (0.5, 0.5), tmp_path / "out")
    assert load(tmp_path / "out").keys() == {"model.embed_tokens.weight"}


def test_an_untied_head_is_merged_even_where_it_equals_the_embedding(tmp_path: Path) -> None:
    embedding = torch.randn(6, 4)
    state = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding.clone()}
    merge_folders("linear", [save(tmp_path / "a", state)], (1.0,), tmp_path / "out")
    assert load(tmp_path / "out").keys() == state.keys()


def test_an_operator_that_asks_for_the_start_sees_it(tmp_path: Path) -> None:
    values = {"b0": 1.0, "b1": 5.0, "start": 2.0}
    for name, value in values.items():
        save(tmp_path / name, {"w": torch.full((3,), value), "kept": torch.ones(2)})
    branches = [tmp_path / "b0", tmp_path / "b1"]
    report = merge_folders(
        "task-arithmetic", branches, None, tmp_path / "out", settings={"scale": 0.5}, start=tmp_path / "start"
    )
    assert load(tmp_path / "out")["w"].tolist() == [3.0, 3.0, 3.0]
    assert report.copied == 1
    told = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert told["start"]["name"] == "start"
    assert [source["name"] for source in told["branches"]] == ["b0", "b1"]
    assert told["settings"] == {"scale": 0.5, "factors": []}
    assert told["weights"] is None


def test_a_tensor_that_moved_from_the_start_in_all_branches_alike_is_not_copied(tmp_path: Path) -> None:
    branches = [save(tmp_path / name, {"w": torch.full((3,), 3.0)}) for name in ("b0", "b1")]
    start = save(tmp_path / "start", {"w": torch.full((3,), 2.0)})
    merge_folders("task-arithmetic", branches, None, tmp_path / "out", start=start)
    assert load(tmp_path / "out")["w"].tolist() == [4.0, 4.0, 4.0]


def test_a_start_in_half_precision_serves_branches_in_single(tmp_path: Path) -> None:
    """Most models are published in bf16; the start may also hold buffers that branches no longer do."""
    origin = torch.randn(500, generator=torch.Generator().manual_seed(0)).bfloat16()
    start = save(tmp_path / "start", {"w": origin, "inv_freq": torch.ones(2)})
    moved = [origin.float() + step for step in (0.25, 0.5)]
    branches = [save(tmp_path / str(k), {"w": value}) for k, value in enumerate(moved)]
    merge_folders("task-arithmetic", branches, None, tmp_path / "out", start=start)
    merged = load(tmp_path / "out")
    assert merged.keys() == {"w"}
    torch.testing.assert_close(merged["w"], origin.float() + 0.75)
    assert distance(branches[0], start) == pytest.approx(0.25 * 500**0.5)
    with pytest.raises(InputError, match=r"start lacks tensor 'other', which \S+ holds; give the start of these"):
        merge_folders("task-arithmetic", [save(tmp_path / "b", {"other": origin})], None, tmp_path / "out", start=start)


def test_one_factor_for_each_branch_or_none(tmp_path: Path) -> None:
    start, *branches = (save(tmp_path / str(k), {"w": torch.full((3,), float(2**k))}) for k in range(3))
    merge_folders("task-arithmetic", branches, None, tmp_path / "out", start=start, settings={"factors": (3.0, 0.5)})
    assert load(tmp_path / "out")["w"].tolist() == [1 + 3 * 1 + 0.5 * 3] * 3
    with pytest.raises(InputError, match="3 factors for 2 branches"):
        merge_folders("task-arithmetic", branches, None, tmp_path / "x", start=start, settings={"factors": (1.0,) * 3})


def test_wholes_wait_for_room_and_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    branches = [save(tmp_path / str(k), branch(k, size=40)) for k in range(2)]
    start = save(tmp_path / "start", branch(9, size=40))
    report = merge_folders("iso-c", branches, None, tmp_path / "free", start=start)
    sizes: list[int] = []
    within = Waiting.submit

    def counted(self: Waiting, pool: Any, nbytes: int, work: Any) -> None:
        within(self, pool, nbytes, work)
        sizes.append(sum(taken for _, taken in self._works))

    monkeypatch.setattr(Waiting, "submit", counted)
    monkeypatch.setattr(streaming, "WHOLE_BYTES", 3 * 200 * 4 + 1)
    assert merge_folders("iso-c", branches, None, tmp_path / "full", start=start).sha256 == report.sha256
    assert sizes == [3 * 40 * 5 * 4, 3 * 40 * 3 * 4]
