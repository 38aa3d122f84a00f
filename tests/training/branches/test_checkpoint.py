from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Parameter
from torch.optim import Optimizer

from training.branches.checkpoint import load_checkpoint, save_checkpoint
from training.branches.optimisation import make_optimizer
from training.config import BranchSettings

CHOICES = {
    "adamw": BranchSettings(optimizer="adamw", weight_decay=0.1, learning_rate=0.01),
    "sgd with momentum": BranchSettings(optimizer="sgd", momentum=0.9, learning_rate=0.01),
    "sgd": BranchSettings(optimizer="sgd", learning_rate=0.01),
}
SHAPES = {"a/b.weight": (3, 4), "norm": (5,), "scale": ()}


def begin(seed: int, chosen: BranchSettings, dtype: torch.dtype) -> tuple[dict[str, Parameter], Optimizer]:
    rng = np.random.default_rng(seed)
    trainable = {
        name: Parameter(torch.tensor(rng.standard_normal(shape), dtype=dtype)) for name, shape in SHAPES.items()
    }
    return trainable, make_optimizer(chosen, trainable.values())


def step(trainable: dict[str, Parameter], optimizer: Optimizer, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for parameter in trainable.values():
        parameter.grad = torch.tensor(rng.standard_normal(parameter.shape), dtype=parameter.dtype)
    optimizer.step()


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), before=st.integers(1, 3))
def test_steps_after_a_round_trip_are_those_of_a_run_that_was_never_stopped(
    tmp_path_factory: pytest.TempPathFactory, choice: str, dtype: torch.dtype, seed: int, before: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "round" / "checkpoint.safetensors"
    trainable, optimizer = begin(seed, CHOICES[choice], dtype)
    for number in range(before):
        step(trainable, optimizer, seed + number)
    save_checkpoint(path, "key", trainable, optimizer, {"steps": torch.tensor([1, 2])}, {"step": before, "rate": 0.1})
    resumed, other_optimizer = begin(seed + 1, CHOICES[choice], dtype)
    found = load_checkpoint(path, "key", resumed, other_optimizer)
    assert found is not None
    kept, position = found
    assert position == {"step": before, "rate": 0.1}
    assert {name: tensor.tolist() for name, tensor in kept.items()} == {"steps": [1, 2]}
    for number in range(2):
        step(trainable, optimizer, seed - number - 1 + 2**33)
        step(resumed, other_optimizer, seed - number - 1 + 2**33)
    for name, parameter in trainable.items():
        assert torch.equal(parameter, resumed[name])


@pytest.mark.parametrize("choice", ["adamw", "sgd with momentum"])
def test_weights_alone_would_not_be_enough(choice: str) -> None:
    trainable, optimizer = begin(0, CHOICES[choice], torch.float64)
    step(trainable, optimizer, 1)
    resumed, other_optimizer = begin(0, CHOICES[choice], torch.float64)
    with torch.no_grad():
        for name, parameter in resumed.items():
            parameter.copy_(trainable[name])
    step(trainable, optimizer, 2)
    step(resumed, other_optimizer, 2)
    assert not torch.equal(trainable["norm"], resumed["norm"])


def saved(path: Path) -> bytes:
    trainable, optimizer = begin(0, CHOICES["adamw"], torch.float32)
    step(trainable, optimizer, 1)
    save_checkpoint(path, "key", trainable, optimizer, {}, {"step": 1})
    return path.read_bytes()


def weights(trainable: dict[str, Parameter]) -> dict[str, list]:
    return {name: parameter.tolist() for name, parameter in trainable.items()}


@settings(max_examples=400)
@given(position=st.integers(0, 10**6), value=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_checkpoint_is_not_used_and_touches_nothing(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, cut: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    raw = bytearray(saved(path))
    position %= len(raw)
    raw[position] ^= value
    path.write_bytes(raw[:position] if cut else raw)
    trainable, optimizer = begin(0, CHOICES["adamw"], torch.float32)
    before = weights(trainable)
    assert load_checkpoint(path, "key", trainable, optimizer) is None
    assert weights(trainable) == before
    assert not optimizer.state


def test_a_checkpoint_of_another_branch_is_not_used_and_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    saved(path)
    trainable, optimizer = begin(1, CHOICES["adamw"], torch.float32)
    before = weights(trainable)
    for other, key in ((path, "other"), (tmp_path / "missing.safetensors", "key"), (tmp_path, "key")):
        assert load_checkpoint(other, key, trainable, optimizer) is None
        assert weights(trainable) == before
        assert not optimizer.state
    assert load_checkpoint(path, "key", trainable, optimizer) is not None
    assert weights(trainable) != before


def test_a_failed_save_keeps_the_checkpoint_before_it(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    raw = saved(path)
    with pytest.raises(TypeError):
        save_checkpoint(path, "key", *begin(0, CHOICES["adamw"], torch.float32), {}, {"step": object()})
    assert path.read_bytes() == raw
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
