import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from training.errors import InputError
from training.merge.safetensors_file import LENGTH_BYTES, create, read_tensors, write

TORCH = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]


@st.composite
def state_dicts(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    shapes = st.lists(st.integers(0, 5), max_size=3)
    drawn = draw(st.lists(st.tuples(st.sampled_from(TORCH), shapes), min_size=1, max_size=6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    return {
        f"ü{i}\n.weight": torch.randint(0, 2, shape, generator=generator).to(dtype)
        for i, (dtype, shape) in enumerate(drawn)
    }


@settings(deadline=None)
@given(state_dicts())
def test_reading_gives_what_the_library_wrote(tmp_path_factory, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path_factory.mktemp("file") / "model.safetensors"
    save_file(state, path)
    with open(path, "rb", buffering=0) as file:
        tensors = read_tensors(file)
        assert tensors.keys() == state.keys()
        for name, tensor in tensors.items():
            stored = np.empty(tensor.count, tensor.element.storage)
            tensor.read(0, stored)
            assert tensor.shape == tuple(state[name].shape)
            assert stored.tobytes() == state[name].contiguous().flatten().view(torch.uint8).numpy().tobytes()


@settings(deadline=None)
@given(state_dicts())
def test_the_library_reads_what_was_written_and_finds_it_aligned(
    tmp_path_factory, state: dict[str, torch.Tensor]
) -> None:
    folder = tmp_path_factory.mktemp("file")
    save_file(state, folder / "in")
    with open(folder / "in", "rb", buffering=0) as file:
        tensors = sorted(read_tensors(file).values(), key=lambda tensor: -tensor.element.storage.itemsize)
        positions = create(folder / "out", tensors)
        with open(folder / "out", "r+b", buffering=0) as target:
            for tensor in tensors:
                assert positions[tensor.name] % tensor.element.storage.itemsize == 0
                stored = np.empty(tensor.count, tensor.element.storage)
                tensor.read(0, stored)
                write(target, positions[tensor.name], stored)
    with safe_open(folder / "out", "pt") as back:
        assert back.metadata() == {"format": "pt"}
        assert set(back.keys()) == state.keys()
        for name, tensor in state.items():
            assert back.get_tensor(name).dtype == tensor.dtype
            assert torch.equal(back.get_tensor(name), tensor)


def encoded(header: object, data: bytes = bytes(8)) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(LENGTH_BYTES, "little") + text + data


def entry(**changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


DAMAGED = {
    "empty": b"",
    "shorter than its length": b"\x01\x00",
    "header longer than the file": encoded({"a": entry()})[:20],
    "absurd length": b"\xff" * 8 + b"{}",
    "no header": bytes(8),
    "no JSON": (3).to_bytes(8, "little") + b"{,}",
    "no UTF-8": (2).to_bytes(8, "little") + b"\xff\xfe",
    "deep": (200_000).to_bytes(8, "little") + b"[" * 200_000,
    "a list": encoded([1]),
    "no shape": encoded({"a": {"dtype": "F32", "data_offsets": [0, 8]}}),
    "no entry": encoded({"a": 3}),
    "negative size": encoded({"a": entry(shape=[-1, -2])}),
    "fractional size": encoded({"a": entry(shape=[2.0])}),
    "three offsets": encoded({"a": entry(data_offsets=[0, 4, 8])}),
    "size unlike shape": encoded({"a": entry(shape=[3])}, bytes(12)),
    "dtype no string": encoded({"a": entry(dtype=[])}),
    "gap": encoded({"a": entry(shape=[1], data_offsets=[4, 8])}, bytes(4)),
    "overlap": encoded({"a": entry(), "b": entry()}, bytes(16)),
    "truncated data": encoded({"a": entry()})[:-1],
    "trailing data": encoded({"a": entry()}, bytes(9)),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_named_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken").write_bytes(content)
    with open(tmp_path / "broken", "rb", buffering=0) as file, pytest.raises(InputError, match="save it again") as told:
        read_tensors(file)
    assert str(tmp_path / "broken") in str(told.value)


def test_an_unknown_dtype_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(encoded({"a": entry(dtype="F4")}))
    with open(tmp_path / "file", "rb", buffering=0) as file, pytest.raises(InputError, match=r"'a'.*dtype 'F4'"):
        read_tensors(file)


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 5000, 700_000])
@pytest.mark.parametrize("place", [lambda n: 0, lambda n: n // 2, lambda n: n - 1])
def test_one_different_bit_is_seen_wherever_it_is(tmp_path: Path, size: int, place: Callable[[int], int]) -> None:
    value = torch.zeros(size)
    other = value.clone()
    other[place(size)] = -0.0
    for name, tensor in [("a", value), ("b", other), ("c", value)]:
        save_file({"w": tensor}, tmp_path / name)
    with (
        open(tmp_path / "a", "rb", buffering=0) as a,
        open(tmp_path / "b", "rb", buffering=0) as b,
        open(tmp_path / "c", "rb", buffering=0) as c,
    ):
        tensors = [read_tensors(file)["w"] for file in (a, b, c)]
        assert not tensors[0].same_bits(tensors[1])
        assert tensors[0].same_bits(tensors[2])


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(100)}, tmp_path / "file")
    with open(tmp_path / "file", "r+b", buffering=0) as file:
        tensor = read_tensors(file)["w"]
        file.truncate(tensor.offset + 40)
        with pytest.raises(InputError, match="became shorter"):
            tensor.read(0, np.empty(100, np.float32))
