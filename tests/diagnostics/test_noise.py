import math
from pathlib import Path
from typing import Any

import pytest
import torch

from diagnostics.noise import Noise, noise_seeds, noised_weights
from tests.diagnostics.linear_head import HEAD, bench_of, network_of, stored, write_checkpoints

SEEDS = {"matrix": 1, "other": 2, "norm": 3, "kernel": 4}


def matrix(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    rows = torch.randn(40, 300, generator=torch.Generator().manual_seed(9), dtype=dtype)
    return rows * torch.linspace(0, 5, 40)[:, None].to(dtype)


def test_isotropic_noise_is_normal_with_one_size_for_all_weights() -> None:
    noise = Noise("isotropic", 0.25, SEEDS)("matrix", matrix())
    assert noise is not None
    assert noise.std().item() == pytest.approx(0.25, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert (noise.abs() > 0.5).double().mean().item() == pytest.approx(math.erfc(math.sqrt(2)), rel=0.1)


def test_filter_normalised_noise_has_the_norm_of_each_row_times_its_scale() -> None:
    for weights in (matrix(), matrix().view(40, 10, 30)):
        noise = Noise("filter-normalised", 0.25, SEEDS)("matrix", weights)
        assert noise is not None
        assert noise.shape == weights.shape
        norms = noise.view(40, -1).norm(dim=1)
        torch.testing.assert_close(norms, 0.25 * weights.view(40, -1).norm(dim=1))
        assert norms[0] == 0
        rows = noise.view(40, -1)[1:]
        cosines = (rows / rows.norm(dim=1, keepdim=True)) @ (rows / rows.norm(dim=1, keepdim=True)).T
        assert (cosines - torch.eye(39)).abs().max() < 0.3  # rows get noise of their own, not one direction


def test_filter_normalised_noise_leaves_parameters_with_one_dimension_alone_and_isotropic_noise_does_not() -> None:
    weights = torch.ones(5)
    assert Noise("filter-normalised", 1.0, SEEDS)("norm", weights) is None
    assert Noise("isotropic", 1.0, SEEDS)("norm", weights) is not None


@pytest.mark.parametrize("kind", ["isotropic", "filter-normalised"])
def test_noise_depends_on_seed_and_name_and_nothing_else(kind: Any) -> None:
    noise = Noise(kind, 0.1, SEEDS)
    first, again = noise("matrix", matrix()), noise("matrix", matrix())
    other, rescaled = noise("other", matrix()), Noise(kind, 0.3, SEEDS)("matrix", matrix())
    assert first is not None
    assert again is not None
    assert other is not None
    assert rescaled is not None
    assert torch.equal(first, again)
    torch.testing.assert_close(rescaled, 3 * first)
    assert not torch.allclose(first, other)
    wide = noise("matrix", matrix().double())
    assert wide is not None
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide, first.double(), rtol=1e-5, atol=1e-7)
    assert noise("unknown", matrix()) is None


def test_isotropic_noise_is_the_same_for_different_weights() -> None:
    noise = Noise("isotropic", 0.1, SEEDS)
    one, other = noise("matrix", matrix()), noise("matrix", 7 * matrix() + 1)
    assert one is not None
    assert other is not None
    assert torch.equal(one, other)


def test_seeds_differ_between_draws_purposes_and_names_and_cover_what_was_trained(tmp_path: Path) -> None:
    checkpoints = write_checkpoints(tmp_path, {})
    with network_of(checkpoints) as network:
        bench = bench_of(checkpoints, network, {}, trainable=("model.layers.*", HEAD))
        draws = [noise_seeds(bench, purpose, draw) for purpose, draw in (("a", 0), ("a", 1), ("b", 0), ("a", 0))]
        names = [name for name in network.parameters if name.startswith("model.layers.") or name == HEAD]
        assert list(draws[0]) == names
        assert draws[0] == draws[3]
        assert len({seed for draw in draws[:3] for seed in draw.values()}) == 3 * len(names)

        tensors = stored(bench.network._stored["start"]._folder)
        for kind, dimensions in (("isotropic", 1), ("filter-normalised", 2)):
            chosen = [tensors[name].double() for name in names if tensors[name].dim() >= dimensions]
            norm, entries = noised_weights(bench, "start", kind)
            assert norm == pytest.approx(math.sqrt(sum(t.square().sum().item() for t in chosen)), rel=1e-12)
            assert entries == sum(tensor.numel() for tensor in chosen)
