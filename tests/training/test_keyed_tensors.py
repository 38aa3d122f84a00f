from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from training.keyed_tensors import save_keyed_tensors, stored_seconds, stored_tensors_key

TENSORS = {
    "head": torch.arange(6.0).reshape(2, 3).T,
    "scale": torch.tensor(2.0, dtype=torch.float64),
    "norm": torch.ones(3, dtype=torch.bfloat16),
}


def test_a_file_gives_back_its_key_and_its_tensors(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.safetensors"
    save_keyed_tensors(path, "the key", TENSORS, 2.5)
    assert stored_tensors_key(path) == "the key"
    assert stored_seconds(path) == 2.5
    assert {name: value.tolist() for name, value in load_file(path).items()} == {
        name: value.tolist() for name, value in TENSORS.items()
    }
    assert [entry.name for entry in path.parent.iterdir()] == ["file.safetensors"]


def test_where_there_is_no_file_or_no_key_there_is_none(tmp_path: Path) -> None:
    assert stored_tensors_key(tmp_path / "missing") is None
    assert stored_tensors_key(tmp_path) is None
    assert stored_seconds(tmp_path / "missing") is None
    (tmp_path / "empty").touch()
    assert stored_tensors_key(tmp_path / "empty") is None
    for head in (None, {"key": "the key"}, {"sha256": "0" * 64}):
        save_file({"head": torch.zeros(1)}, tmp_path / "other", head)
        assert stored_tensors_key(tmp_path / "other") is None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "file.safetensors"
    save_keyed_tensors(path, "the key", TENSORS, 2.5)
    return path.read_bytes()


@given(position=st.integers(0, 10**6), value=st.integers(1, 255), cut=st.booleans())
def test_damage_gives_no_key_or_leaves_every_tensor_as_it_was_and_never_an_error(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, position: int, value: int, cut: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    raw = bytearray(whole)
    position %= len(raw)
    raw[position] ^= value
    path.write_bytes(raw[:position] if cut else raw)
    if stored_tensors_key(path) is not None:  # a space that pads the header may become another
        assert not cut
        assert {name: value.tolist() for name, value in load_file(path).items()} == {
            name: value.tolist() for name, value in TENSORS.items()
        }


def test_what_one_name_holds_cannot_pass_for_what_another_does(tmp_path: Path) -> None:
    save_keyed_tensors(tmp_path / "file", "the key", {"a": torch.zeros(2), "b": torch.ones(2)}, 2.5)
    whole = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(whole.replace(b'"a"', b'"c"').replace(b'"b"', b'"a"').replace(b'"c"', b'"b"'))
    assert load_file(tmp_path / "file")["a"].tolist() == [1.0, 1.0]
    assert stored_tensors_key(tmp_path / "file") is None
