from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from training.branches.displacement import Displacement
from training.conflicts.sketch import SignedSketch
from training.model.load import choose_trainable


@pytest.fixture(params=["float64", "float32"])
def precision(request: pytest.FixtureRequest) -> str:
    return request.param


def move(model: PreTrainedModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)


def test_norm_and_sketch_are_those_of_the_difference_from_the_start(
    tiny_folder: Path, load_tiny: Callable[..., PreTrainedModel], precision: str
) -> None:
    model, start = load_tiny(precision), load_tiny(precision)
    trainable = choose_trainable(model, ["*.mlp.*", "*norm*"])
    displacement = Displacement(tiny_folder, precision, trainable, 256, 5)
    displacement.measure(0, trainable)
    move(model, 0)
    displacement.measure(10, trainable)
    reference = dict(start.named_parameters())
    difference = {name: (value - reference[name]).detach().double() for name, value in trainable.items()}
    exact = torch.cat([value.reshape(-1) for value in difference.values()]).norm().item()
    assert displacement.steps == [0, 10]
    assert displacement.norms[0] == 0.0
    assert displacement.norms[1] == pytest.approx(exact, rel=1e-6)
    sketch = SignedSketch(256, 5, torch.device("cpu"), torch.float64).of(difference)
    assert not displacement.sketches[0].any()
    torch.testing.assert_close(displacement.sketches[1].double(), sketch, rtol=0, atol=1e-5 * exact)


def test_going_on_from_a_checkpoint_gives_the_file_of_a_run_that_was_never_stopped(
    tiny_folder: Path, load_tiny: Callable[..., PreTrainedModel], tmp_path: Path
) -> None:
    model = load_tiny("float32")
    trainable = choose_trainable(model, ["*norm*"])
    whole, first, second = (Displacement(tiny_folder, "float32", trainable, 64, 0) for _ in range(3))
    assert first.tensors() == {}
    second.restore(first.tensors())
    assert second.steps == []
    for step in (1, 2):
        move(model, step)
        whole.measure(step, trainable)
        first.measure(step, trainable)
    second.restore(first.tensors())
    move(model, 3)
    whole.measure(3, trainable)
    second.measure(3, trainable)
    for name, displacement in (("whole", whole), ("second", second)):
        displacement.save(tmp_path / f"{name}.npz")
    with np.load(tmp_path / "whole.npz") as one, np.load(tmp_path / "second.npz") as other:
        assert one["steps"].tolist() == [1, 2, 3]
        assert (one["norms"].dtype, one["sketches"].dtype, one["sketches"].shape) == (np.float64, np.float32, (3, 64))
        for name in ("steps", "norms", "sketches"):
            np.testing.assert_array_equal(one[name], other[name])
