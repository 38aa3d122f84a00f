"""Our merges beside mergekit's and fusion_bench's; `make peers && .venv-peers/bin/python -m pytest` runs them."""

import importlib

import numpy as np
import pytest
import torch

WEIGHTS = [0.5, 0.3, 0.2]


def case(dtype: str = "float32") -> tuple[dict, list[dict]]:
    rng = np.random.default_rng(0)
    start = {name: rng.normal(size=shape).astype(dtype) for name, shape in (("a", (40, 30)), ("b", (17,)))}
    branches = [
        {n: (v + rng.normal(scale=0.05, size=v.shape)).astype(dtype) for n, v in start.items()} for _ in WEIGHTS
    ]
    return start, branches


def mergekit(method: str, start: dict, branches: list[dict], weights: list[float], **parameters) -> dict:
    """A method of mergekit on each tensor, in memory."""
    base = pytest.importorskip("mergekit.merge_methods.base")
    registry = importlib.import_module("mergekit.merge_methods.registry")
    merged = {}
    for name in start:
        tensors = [torch.from_numpy(state[name]) for state in (start, *branches)]
        group = base.TensorGroup.from_tensors(tensors, base_index=0)
        settings = dict(parameters)
        if weights:
            settings["weight"] = dict(enumerate(weights, 1))
            settings["density"] = dict.fromkeys(range(1, len(tensors)), parameters["density"])
        merged[name] = registry.get(method).merge_group(group, **settings).numpy()
    return merged


def largest_difference(ours: dict, theirs: dict) -> float:
    return max(float(np.abs(ours[name].astype(np.float64) - theirs[name]).max()) for name in theirs)


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_ties_mergekit_is_mergekits_ties(merge, density) -> None:
    start, branches = case()
    theirs = mergekit(
        "ties",
        start,
        branches,
        WEIGHTS,
        density=density,
        rescale=False,
        int8_mask=False,
        normalize=True,
        **{"lambda": 0.5},
    )
    ours = merge("ties-mergekit", branches, start, WEIGHTS, density=density, scale=0.5)
    assert largest_difference(ours, theirs) < 5e-7


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare_without_dropping_is_mergekits(merge, method) -> None:
    start, branches = case()
    theirs = mergekit(
        method, start, branches, WEIGHTS, density=1.0, rescale=True, int8_mask=False, normalize=False, **{"lambda": 1.0}
    )
    ours = merge("dare" if method == "dare_linear" else "dare-ties", branches, start, WEIGHTS, density=1.0)
    assert largest_difference(ours, theirs) < 5e-7


def test_model_stock_is_mergekits(merge) -> None:
    start, branches = case()
    ours = merge("model-stock", branches, start)
    assert largest_difference(ours, mergekit("model_stock", start, branches, [], filter_wise=False)) < 5e-7


@pytest.mark.parametrize("weight", [0.25, 0.9])
def test_slerp_is_mergekits(merge, weight) -> None:
    slerp = pytest.importorskip("mergekit.merge_methods.slerp").slerp
    start, branches = case()
    pair = [start, {"a": start["a"][::-1].copy(), "b": branches[0]["b"]}]  # one far apart, one on the lerp side or near
    ours = merge("slerp", pair, weights=(1 - weight, weight))
    for name, value in ours.items():
        first, second = (torch.from_numpy(state[name])[None] for state in pair)
        theirs = slerp(torch.tensor([weight]), first, second)[0].numpy()
        assert largest_difference({name: value}, {name: theirs}) < 1e-6


@pytest.mark.parametrize("aggregation", ["mean", "sum", "max"])
@pytest.mark.parametrize("density", [0.2, 0.9])
def test_ties_is_fusion_benchs_copy_of_the_official_code(merge, aggregation, density) -> None:
    official = pytest.importorskip("fusion_bench.method.ties_merging.ties_merging_utils")
    start, branches = case()
    base, *flats = (np.concatenate([state[name].reshape(-1) for name in start]) for state in (start, *branches))
    displacements = torch.from_numpy(np.stack(flats) - base)
    theirs = base + official.ties_merging(displacements, reset_thresh=density, merge_func=aggregation).numpy()
    ours = merge("ties", branches, start, density=density, aggregation=aggregation)
    merged = np.concatenate([ours[name].reshape(-1) for name in start])
    assert largest_difference({"all": merged}, {"all": theirs}) < 5e-7
