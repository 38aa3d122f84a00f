from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training.errors import InputError
from training.merge import distance as module
from training.merge.distance import distance


def save(folder: Path, **tensors: torch.Tensor) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_the_distance_is_that_of_all_parameters_as_one_vector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 7)
    generator = torch.Generator().manual_seed(0)
    pairs = {name: torch.randn(2, *shape, generator=generator) for name, shape in (("a", (5, 6)), ("b", (3,)))}
    first, second = (
        save(tmp_path / str(k), positions=torch.arange(4), **{name: pair[k].bfloat16() for name, pair in pairs.items()})
        for k in range(2)
    )
    exact = sum((pair[0].bfloat16().double() - pair[1].bfloat16().double()).square().sum() for pair in pairs.values())
    assert distance(first, second) == pytest.approx(float(exact) ** 0.5, rel=1e-14)
    assert distance(first, first) == 0


def test_models_of_other_tensors_have_no_distance(tmp_path: Path) -> None:
    one, other = save(tmp_path / "a", w=torch.zeros(2)), save(tmp_path / "b", v=torch.zeros(2))
    with pytest.raises(InputError, match="lacks tensor"):
        distance(one, other)
