import errno
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training.errors import InputError
from training.merge.folders import merge_folders

State = dict[str, torch.Tensor]
INDEX = "model.safetensors.index.json"


def branches(root: Path) -> list[Path]:
    """Two branches that merge well: ``a`` in one file, ``b`` in two shards."""
    for name in ("a", "b"):
        (root / name).mkdir()
        (root / name / "config.json").write_text("{}")
    save_file({"u": torch.randn(5), "v": torch.randn(2, 3), "ids": torch.arange(4)}, root / "a" / "model.safetensors")
    save_file({"u": torch.randn(5)}, root / "b" / "part-0.safetensors")
    save_file({"v": torch.randn(2, 3), "ids": torch.arange(4)}, root / "b" / "part-1.safetensors")
    write_index(root / "b", {"u": "part-0.safetensors", "v": "part-1.safetensors", "ids": "part-1.safetensors"})
    return [root / "a", root / "b"]


def write_index(folder: Path, weight_map: object) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def rewrite(change: Callable[[State], object]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        state = {"v": torch.randn(2, 3), "ids": torch.arange(4)}
        change(state)
        save_file(state, root / "b" / "part-1.safetensors")
        write_index(root / "b", dict.fromkeys(state, "part-1.safetensors") | {"u": "part-0.safetensors"})

    return apply


def with_value(value: float) -> Callable[[Path], None]:
    return rewrite(lambda state: state["v"].index_put_((torch.tensor(1), torch.tensor(2)), torch.tensor(value)))


def identical_infinity(root: Path) -> None:
    for name in ("a", "b"):
        (root / name / "model.safetensors").unlink(missing_ok=True)
        save_file({"frozen": torch.tensor([1.0, math.inf])}, root / name / "model.safetensors")


def tied_but_different(root: Path) -> None:
    (root / "a" / "config.json").write_text('{"tie_word_embeddings": true}')
    save_file({"embed": torch.zeros(3, 2), "lm_head.weight": torch.ones(3, 2)}, root / "a" / "model.safetensors")


def tied_to_a_part(root: Path) -> None:
    (root / "a" / "config.json").write_text('{"tie_word_embeddings": true}')
    save_file({"embed": torch.zeros(4, 2), "lm_head.weight": torch.zeros(3, 2)}, root / "a" / "model.safetensors")


def head_of_an_untied_model(root: Path) -> None:
    embedding = torch.randn(3, 2)
    save_file({"embed": embedding, "lm_head.weight": embedding.clone()}, root / "a" / "model.safetensors")
    save_file({"embed": embedding}, root / "b" / "model.safetensors")


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "tensor only in the first": (rewrite(lambda s: s.pop("v")), r"b lacks tensor 'v', which \S+a holds; merge"),
    "tensor only in the second": (rewrite(lambda s: s.update(w=torch.ones(1))), r"a lacks tensor 'w', which \S+b "),
    "other shape": (rewrite(lambda s: s.update(v=torch.ones(3, 2))), r"'v' is F32 \[2, 3\] in \S+a but F32 \[3, 2\]"),
    "other dtype": (rewrite(lambda s: s.update(v=s["v"].half())), r"'v' is F32 \[2, 3\] in \S+a but F16 .* in \S+b;"),
    "other integers": (rewrite(lambda s: s["ids"].add_(1)), r"'ids' of dtype I64 differs .* merge branches"),
    "NaN": (with_value(math.nan), r"tensor 'v' in \S+b holds NaN or infinity; leave"),
    "infinity": (with_value(math.inf), r"tensor 'v' in \S+b holds NaN or infinity; leave"),
    "minus infinity": (with_value(-math.inf), r"tensor 'v' in \S+b holds NaN or infinity; leave"),
    "infinity in all": (identical_infinity, r"tensor 'frozen' in \S+a holds NaN or infinity; leave"),
    "truncated file": (
        lambda root: os.truncate(root / "a" / "model.safetensors", 200),
        r"a/model.safetensors .*copy or save it again",
    ),
    "no folder": (lambda root: (root / "a").rename(root / "c"), r"a is not a folder; give"),
    "no weights": (
        lambda root: (root / "a" / "model.safetensors").unlink(),
        r"a holds neither model.safetensors nor model.safetensors.index.json; save",
    ),
    "no shard": (lambda root: (root / "b" / "part-1.safetensors").unlink(), r"b lacks the weight file part-1.safet"),
    "no index": (lambda root: (root / "b" / INDEX).unlink(), r"b holds neither"),
    "no weight map": (lambda root: (root / "b" / INDEX).write_text("[]"), r"has no weight_map; save"),
    "empty weight map": (lambda root: write_index(root / "b", {}), r"has no weight_map; save"),
    "index no JSON": (lambda root: (root / "b" / INDEX).write_text("{"), r"is not valid JSON"),
    "index without a tensor": (
        lambda root: write_index(root / "b", {"u": "part-0.safetensors", "v": "part-1.safetensors"}),
        r"part-1.safetensors disagree about tensor 'ids'",
    ),
    "index with a tensor too many": (
        lambda root: write_index(root / "b", {"u": "part-0.safetensors", "x": "part-0.safetensors"}),
        r"part-0.safetensors disagree about tensor 'x'",
    ),
    "shard above": (lambda root: write_index(root / "b", {"u": "../a/model.safetensors"}), r"outside its folder"),
    "shard elsewhere": (lambda root: write_index(root / "b", {"u": "/etc/passwd"}), r"'/etc/passwd' outside its"),
    "shard is the parent": (lambda root: write_index(root / "b", {"u": ".."}), r"outside its|lacks the weight file"),
    "shard no name": (lambda root: write_index(root / "b", {"u": 3}), r"names shard 3 outside its"),
    "tied head that differs": (tied_but_different, r"a stores a lm_head.weight unlike its embedding .* set tie_word"),
    "tied head like a part of the embedding": (tied_to_a_part, r"a stores a lm_head.weight unlike its embedding"),
    "head of an untied model": (head_of_an_untied_model, r"b lacks tensor 'lm_head.weight', which \S+a holds"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILED.values(), ids=SPOILED.keys())
def test_bad_input_is_named_and_nothing_is_left(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    inputs = branches(tmp_path)
    merge_folders("linear", inputs, (0.5, 0.5), tmp_path / "good")
    before = (tmp_path / "good" / "provenance.json").read_text()
    spoil(tmp_path)
    for out in (tmp_path / "good", tmp_path / "out"):
        with pytest.raises(InputError, match=message) as told:
            merge_folders("linear", inputs, (0.5, 0.5), out)
        assert "\n" not in str(told.value)
    assert (tmp_path / "good" / "provenance.json").read_text() == before
    assert {path.name for path in tmp_path.iterdir()} <= {"a", "b", "c", "good"}


@pytest.mark.parametrize(
    ("operator", "count", "weights", "message"),
    [
        ("linear", 2, (1.0,), "1 weights for 2 branches"),
        ("linear", 2, (0.5, 0.6), "sum to 1.1; give"),
        ("linear", 2, (math.nan, 1.0), "weight 1 is nan"),
        ("linear", 0, (), "at least one branch"),
        ("cubic", 2, (0.5, 0.5), "no merge operator 'cubic'; choose one of linear"),
    ],
)
def test_bad_arguments_are_told(
    tmp_path: Path, operator: str, count: int, weights: tuple[float, ...], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        merge_folders(operator, branches(tmp_path)[:count], weights, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_operator_that_needs_the_start_is_refused_without_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'task-arithmetic' needs the model that the branches began from"):
        merge_folders("task-arithmetic", branches(tmp_path), None, tmp_path / "out")


def test_weights_are_refused_by_an_operator_that_takes_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'task-arithmetic' takes no weights"):
        merge_folders("task-arithmetic", branches(tmp_path), (0.5, 0.5), tmp_path / "out", start=tmp_path / "a")


@pytest.mark.parametrize(
    ("given", "message"),
    [({"scael": 1.0}, "unknown key scael"), ({"scale": "x"}, "scale: "), ({"scale": math.nan}, "scale: ")],
)
def test_settings_an_operator_does_not_have_are_told(tmp_path: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"merge operator task-arithmetic: {message}"):
        merge_folders(
            "task-arithmetic", branches(tmp_path), None, tmp_path / "out", settings=given, start=tmp_path / "a"
        )


def test_the_inputs_are_never_replaced(tmp_path: Path) -> None:
    inputs = branches(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "b")
    for out in (inputs[1], tmp_path, tmp_path / "a" / ".." / "b", tmp_path / "link"):
        with pytest.raises(InputError, match="would be replaced; choose another"):
            merge_folders("linear", inputs, (0.5, 0.5), out)
    assert (tmp_path / "b" / "part-0.safetensors").exists()


def test_a_folder_that_is_no_merge_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    merge_folders("linear", branches(tmp_path), (0.5, 0.5), tmp_path / "thesis")
    merge_folders("linear", [tmp_path / "a", tmp_path / "b"], (0.1, 0.9), tmp_path / "thesis")
    (tmp_path / "thesis" / "provenance.json").unlink()
    (tmp_path / "file").touch()
    for out in ("thesis", "file"):
        with pytest.raises(InputError, match="is no merged model; remove it"):
            merge_folders("linear", [tmp_path / "a", tmp_path / "b"], (0.5, 0.5), tmp_path / out)


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = branches(tmp_path)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InputError, match=r"no space left to write \S+out; free"):
        merge_folders("linear", inputs, (0.5, 0.5), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_other_failures_of_the_disk_are_not_disguised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = branches(tmp_path)

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", broken)
    with pytest.raises(OSError, match="Input/output error"):
        merge_folders("linear", inputs, (0.5, 0.5), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


@pytest.mark.parametrize(
    ("dtype", "name", "excess"),
    [(torch.float16, "F16", 0.001), (torch.bfloat16, "BF16", 0.0025), (torch.float32, "F32", 0.5)],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_result_beyond_the_dtype_is_refused(
    tmp_path: Path, dtype: torch.dtype, name: str, excess: float, sign: int
) -> None:
    for folder, value in (("a", sign * torch.finfo(dtype).max), ("b", 0.0)):
        (tmp_path / folder).mkdir()
        save_file({"w": torch.tensor([value], dtype=dtype)}, tmp_path / folder / "model.safetensors")
    with pytest.raises(InputError, match=f"merging tensor 'w' overflows {name}; save"):
        merge_folders("linear", [tmp_path / "a", tmp_path / "b"], (1 + excess, -excess), tmp_path / "out")


def test_values_the_caller_cannot_keep_are_a_mistake_seen_before_the_work(tmp_path: Path) -> None:
    inputs = branches(tmp_path)
    for mistake in ({"loss": math.nan}, {"tasks": [["one"]]}):
        with pytest.raises(ValueError, match=r"JSON compliant|shorter"):
            merge_folders("linear", inputs, (0.5, 0.5), tmp_path / "out", provenance=mistake)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
