from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Parameter
from torch.optim import Optimizer

from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import BranchSettings
from training.errors import InputError
from training.optimisation import make_optimizer

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
    save_checkpoint(path, trainable, optimizer, {"steps": torch.tensor([1, 2])}, {"step": before, "rate": 0.1})
    resumed, other_optimizer = begin(seed + 1, CHOICES[choice], dtype)
    kept, position = load_checkpoint(path, resumed, other_optimizer)
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
    save_checkpoint(path, trainable, optimizer, {}, {"step": 1})
    return path.read_bytes()


@settings(max_examples=100)
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_checkpoint_cut_short_is_refused_by_name(tmp_path_factory: pytest.TempPathFactory, place: float) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.safetensors"
    raw = saved(path)
    path.write_bytes(raw[: int(place * len(raw))])
    with pytest.raises(InputError, match=r"cut.safetensors cannot be used .*remove it"):
        load_checkpoint(path, *begin(0, CHOICES["adamw"], torch.float32))


@settings(max_examples=200)
@given(position=st.integers(0, 10**6), value=st.integers(1, 255))
def test_a_checkpoint_with_a_damaged_head_is_refused_or_read_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    raw = bytearray(saved(path))
    head = 8 + int.from_bytes(raw[:8], "little")
    raw[position % head] ^= value
    path.write_bytes(raw)
    try:
        load_checkpoint(path, *begin(0, CHOICES["adamw"], torch.float32))
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017 a harmless flip may be read


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    saved(path)
    trainable, optimizer = begin(0, CHOICES["adamw"], torch.float32)
    for other in (
        {**trainable, "more": Parameter(torch.zeros(1))},
        {name: trainable[name] for name in ("norm", "scale")},
    ):
        with pytest.raises(InputError, match="cannot be used"):
            load_checkpoint(path, other, optimizer)
    wrong = {name: Parameter(torch.zeros(7, 7)) for name in SHAPES}
    with pytest.raises(InputError, match="cannot be used"):
        load_checkpoint(path, wrong, make_optimizer(CHOICES["adamw"], wrong.values()))


def test_a_failed_save_keeps_the_checkpoint_before_it(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    raw = saved(path)
    with pytest.raises(TypeError):
        save_checkpoint(path, *begin(0, CHOICES["adamw"], torch.float32), {}, {"step": object()})
    assert path.read_bytes() == raw
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
