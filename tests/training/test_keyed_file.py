from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.keyed_file import save_keyed, stored_key


def test_a_file_gives_back_its_key_and_its_arrays(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.npz"
    save_keyed(path, "the key", values=np.arange(3.0), names=np.array(["a", "ü"]))
    assert stored_key(path) == "the key"
    with np.load(path) as file:
        assert file["values"].tolist() == [0.0, 1.0, 2.0]
        assert file["names"].tolist() == ["a", "ü"]
    assert [entry.name for entry in path.parent.iterdir()] == ["file.npz"]


def test_where_there_is_no_file_or_no_key_there_is_none(tmp_path: Path) -> None:
    assert stored_key(tmp_path / "missing.npz") is None
    assert stored_key(tmp_path) is None
    np.savez(tmp_path / "other.npz", values=np.zeros(1))
    assert stored_key(tmp_path / "other.npz") is None
    (tmp_path / "empty.npz").touch()
    assert stored_key(tmp_path / "empty.npz") is None


@settings(max_examples=300)
@given(position=st.integers(0, 10**6), value=st.integers(1, 255), cut=st.booleans())
def test_damage_gives_no_key_or_leaves_every_array_as_it_was_and_never_an_error(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, cut: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    save_keyed(path, "the key", values=np.arange(20.0))
    raw = bytearray(path.read_bytes())
    position %= len(raw)
    raw[position] ^= value
    path.write_bytes(raw[:position] if cut else raw)
    if stored_key(path) is not None:  # a few bytes of a ZIP, such as its times, say nothing
        assert not cut
        with np.load(path) as file:
            assert file["key"] == "the key"
            assert file["values"].tolist() == list(range(20))


def test_a_failed_save_keeps_the_file_before_it(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    save_keyed(path, "old", values=np.zeros(1))

    class Unsavable:
        def __array__(self, *_: object, **__: object) -> np.ndarray:
            raise MemoryError

    with pytest.raises(MemoryError):
        save_keyed(path, "new", values=Unsavable())
    assert stored_key(path) == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.npz"]
