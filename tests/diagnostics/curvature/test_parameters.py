from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.curvature.parameters import VectorLayout
from training.model.embedded import write_tiny_llama
from training.model.load import choose_trainable, load_model

shapes = st.lists(st.sampled_from([(), (1,), (7,), (3, 5), (2, 3, 4)]), min_size=1, max_size=5)


@given(shapes, st.integers(0, 2**32 - 1))
def test_flattening_and_unflattening_undo_each_other(tensor_shapes: list, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tensors = {f"p{index}": torch.tensor(rng.standard_normal(shape)) for index, shape in enumerate(tensor_shapes)}
    layout = VectorLayout.of(tensors)
    vector = layout.flatten(dict(reversed(tensors.items())))
    assert vector.shape == (layout.dimension,)
    assert vector.tolist() == np.concatenate([tensor.numpy().ravel() for tensor in tensors.values()]).tolist()
    pieces = layout.unflatten(vector)
    assert list(pieces) == list(tensors)
    assert all(torch.equal(pieces[name], tensor) for name, tensor in tensors.items())
    pieces["p0"].add_(1)
    assert not torch.equal(vector, layout.flatten(tensors)), "pieces are views"


def test_what_does_not_fit_the_layout_is_named() -> None:
    layout = VectorLayout.of({"a": torch.zeros(2), "b": torch.zeros(1, 3)})
    with pytest.raises(ValueError, match="1 names are on one side only, first 'b'"):
        layout.flatten({"a": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"'b' has shape \[3, 1\] instead of \[1, 3\]"):
        layout.flatten({"a": torch.zeros(2), "b": torch.zeros(3, 1)})
    for wrong in (torch.zeros(4), torch.zeros(5, dtype=torch.float64), torch.zeros(1, 5)):
        with pytest.raises(ValueError, match=r"the parameters need \[5\] torch.float32 on cpu"):
            layout.unflatten(wrong)
    with pytest.raises(ValueError, match="one dtype and one device"):
        VectorLayout.of({"a": torch.zeros(2), "b": torch.zeros(2, dtype=torch.float64)})
    with pytest.raises(ValueError, match="no parameters"):
        VectorLayout.of({})


def test_patterns_choose_parameters_and_freeze_the_rest(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path)
    model = load_model(tmp_path, "float32", torch.device("cpu"))
    chosen = choose_trainable(model, ["model.layers.1.*", "model.norm.weight"])
    assert len(chosen) == 10
    assert all(name.startswith("model.layers.1.") or name == "model.norm.weight" for name in chosen)
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == set(chosen)
