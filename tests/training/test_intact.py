import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from training.branches.finished import finished_branch
from training.intact import is_intact_model, is_intact_npz, model_hashes, read_sealed, write_sealed
from training.run_directory import BranchDirectory, read_json

VALUE = {"tokens": 1234, "rate": 0.25, "tasks": ["a", "ü"], "nested": {"flag": True, "none": None}}


def test_a_sealed_object_is_read_back_and_is_plain_json_to_other_readers(tmp_path: Path) -> None:
    write_sealed(tmp_path / "file.json", VALUE)
    assert read_sealed(tmp_path / "file.json") == VALUE
    assert read_json(tmp_path / "file.json").items() > VALUE.items()


def test_where_a_seal_is_missing_or_there_is_no_object_nothing_is_read(tmp_path: Path) -> None:
    assert read_sealed(tmp_path / "missing.json") is None
    assert read_sealed(tmp_path) is None
    for text in ("", "[]", "3", "null", json.dumps(VALUE), '{"content_sha256": ' + "[" * 10_000):
        (tmp_path / "file.json").write_text(text)
        assert read_sealed(tmp_path / "file.json") is None


def test_every_cut_and_a_changed_bit_of_every_byte_is_seen_unless_the_content_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_sealed(path, VALUE)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place])
        assert read_sealed(path) in ((VALUE, None) if not whole[place:].strip() else (None,))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        assert read_sealed(path) in (VALUE, None)


def test_a_number_damaged_into_infinity_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text('{"rate": 1e999, "content_sha256": "0"}')
    assert read_sealed(tmp_path / "file.json") is None


def model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_file({"w": torch.arange(5.0)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


def test_a_model_is_intact_while_every_file_is_there_with_its_bytes_and_no_other(tmp_path: Path) -> None:
    folder = model(tmp_path / "model")
    record = model_hashes(folder)
    assert is_intact_model(folder, {"steps": 3} | record)
    assert not is_intact_model(tmp_path / "missing", record)
    assert not is_intact_model(folder, {})
    for path in list(folder.iterdir()):
        whole = path.read_bytes()
        for damaged in (b"", whole[:-1], whole + b" ", whole[:-1] + bytes([whole[-1] ^ 1])):
            path.write_bytes(damaged)
            assert not is_intact_model(folder, record)
        path.unlink()
        assert not is_intact_model(folder, record)
        path.write_bytes(whole)
    assert is_intact_model(folder, record)
    (folder / "tokenizer.json").touch()
    assert not is_intact_model(folder, record)


def test_an_npz_is_intact_when_every_array_has_its_check_sum(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    np.savez(path, values=np.arange(20.0))
    assert is_intact_npz(path)
    whole = path.read_bytes()
    place = whole.index(np.float64(7.0).tobytes())
    path.write_bytes(whole[:place] + b"\x01" + whole[place + 1 :])
    assert not is_intact_npz(path)
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert not is_intact_npz(path)
    assert not is_intact_npz(tmp_path / "missing.npz")


@pytest.mark.parametrize("file", ["done.json", "displacement.npz", "model/model.safetensors", "model/config.json"])
def test_a_branch_is_finished_while_all_it_left_is_whole_and_it_is_the_same_branch(tmp_path: Path, file: str) -> None:
    paths = BranchDirectory(tmp_path)
    model(paths.model)
    np.savez(paths.displacement, norms=np.ones(3))
    assert finished_branch(paths, "spec") is None
    done = {"spec": "spec", "steps": 3} | model_hashes(paths.model)
    write_sealed(paths.done, done)
    assert finished_branch(paths, "spec") == done
    assert finished_branch(paths, "other") is None
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2])
    assert finished_branch(paths, "spec") is None
    (tmp_path / file).unlink()
    assert finished_branch(paths, "spec") is None
