"""The one network: where its weights are is what the checkpoints say."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import training.model.network
from tests.diagnostics.linear_head import HEAD, stored, write_model, write_start
from training.errors import InputError
from training.model.network import Network, StoredWeights

NAMES = ("start", "one", "two", "three")


def noisy(tensors: dict[str, Tensor], seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (tensor + 1e-3 * torch.randn(tensor.shape, generator=generator)).to(dtype)
        for name, tensor in tensors.items()
    }


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    start = write_start(tmp_path / "start")
    others = {name: write_model(start, tmp_path / name, noisy(stored(start), n)) for n, name in enumerate(NAMES[1:])}
    return {"start": start, **others}


def opened(folders: dict[str, Path], precision: str = "float32") -> Network:
    return Network(folders, precision, torch.device("cpu"))


def brute_force(folders: dict[str, Path], point: dict[str, float]) -> dict[str, Tensor]:
    tensors = {name: stored(folders[name]) for name in point}
    return {
        key: sum(c * tensors[name][key].double() for name, c in point.items()) for key in tensors[next(iter(point))]
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_single_checkpoint_is_reached_exactly(folders: dict[str, Path], name: str) -> None:
    with opened(folders) as network:
        network.move_to({"one": 0.3, "two": 0.7})
        network.move_to({name: 1.0, "start" if name != "start" else "one": 0.0})
        for key, parameter in network.parameters.items():
            assert torch.equal(parameter, stored(folders[name])[key])


@pytest.mark.parametrize("chunk", [3, 2**18])
@pytest.mark.parametrize(
    "point",
    [
        {"one": 0.5, "two": 0.5},
        {"start": 0.2, "one": 0.3, "two": 0.5},
        {"start": -3.0, "one": 1.5, "two": 1.75, "three": 0.75},
    ],
)
@pytest.mark.parametrize(("precision", "epsilon"), [("float32", 2**-23), ("float64", 2**-50)])
def test_a_point_is_the_weighted_sum_of_its_checkpoints_rounded_about_once(
    folders: dict[str, Path],
    point: dict[str, float],
    chunk: int,
    precision: str,
    epsilon: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training.model.network, "CHUNK", chunk)
    with opened(folders, precision) as network:
        network.move_to(point)
        for key, expected in brute_force(folders, point).items():
            error = (network.parameters[key].double() - expected).abs()
            # Half an epsilon for the last sum; differences are a thousandth of the weights and rounded a few times.
            assert (error <= 0.51 * epsilon * expected.abs() + 2e-2 * epsilon).all(), key


def test_equal_checkpoints_are_their_own_average(folders: dict[str, Path]) -> None:
    twins = {"start": folders["one"], "one": folders["one"], "two": folders["one"]}
    with opened(twins) as network:
        network.move_to({"start": 0.1, "one": 0.7, "two": 0.2})
        assert all(torch.equal(value, stored(folders["one"])[key]) for key, value in network.parameters.items())


def test_checkpoints_stored_in_bfloat16_are_cast_before_they_are_summed(tmp_path: Path) -> None:
    start = write_start(tmp_path / "start")
    folders = {
        name: write_model(start, tmp_path / "narrow" / name, noisy(stored(start), n, torch.bfloat16))
        for n, name in enumerate(NAMES)
    }
    point = {"start": -1.0, "one": 0.75, "two": 0.75, "three": 0.5}
    with opened(folders) as network:
        network.move_to(point)
        for key, expected in brute_force(folders, point).items():
            assert network.parameters[key].dtype == torch.float32
            torch.testing.assert_close(network.parameters[key].double(), expected, rtol=2e-7, atol=1e-9)
        network.move_to({"two": 1.0})
        assert torch.equal(network.parameters[HEAD], stored(folders["two"])[HEAD].float())


def test_coefficients_that_do_not_sum_to_one_are_refused(folders: dict[str, Path]) -> None:
    with opened(folders) as network, pytest.raises(ValueError, match=r"sum to 0.9, not to 1"):
        network.move_to({"one": 0.5, "two": 0.4})


def test_combinations_are_displacements_where_the_coefficients_sum_to_zero(folders: dict[str, Path]) -> None:
    with opened(folders, "float64") as network:
        found = dict(network.combination({"two": 1.0, "start": -1.0, "three": 0.0}))
    assert found.keys() == stored(folders["start"]).keys()
    for key, expected in brute_force(folders, {"two": 1.0, "start": -1.0}).items():
        assert torch.equal(found[key], expected)


def test_noise_is_added_where_there_is_any(folders: dict[str, Path]) -> None:
    with opened(folders) as network:
        network.move_to({"one": 1.0})
        network.perturb(lambda name, parameter: 2 * parameter if name == HEAD else None)
        for key, value in stored(folders["one"]).items():
            assert torch.equal(network.parameters[key], 3 * value if key == HEAD else value)


@pytest.mark.parametrize("factor", [0.5, 0.1, -1.0, 1.0, 0.0])
def test_what_is_away_from_a_checkpoint_is_stretched(folders: dict[str, Path], factor: float) -> None:
    with opened(folders) as network:
        network.move_to({"one": 1.0})
        generator = torch.Generator().manual_seed(0)
        noise = {key: torch.randn(value.shape, generator=generator) for key, value in network.parameters.items()}
        noise["model.norm.weight"].zero_()
        network.perturb(lambda name, parameter: noise[name])
        network.stretch("one", factor)
        for key, value in stored(folders["one"]).items():
            torch.testing.assert_close(network.parameters[key], value + factor * noise[key], rtol=3e-7, atol=3e-7)
        assert torch.equal(network.parameters["model.norm.weight"], stored(folders["one"])["model.norm.weight"])


def test_the_files_never_change(folders: dict[str, Path]) -> None:
    before = {name: (folder / "model.safetensors").read_bytes() for name, folder in folders.items()}
    with opened(folders) as network:
        for _ in range(2):
            network.move_to({"one": 0.5, "two": 0.5})
            network.perturb(lambda name, parameter: torch.ones_like(parameter))
            network.stretch("start", 0.5)
            list(network.combination({"one": 1.0, "start": -1.0}))
            network.move_to({"one": 1.0})
            assert torch.equal(network.parameters[HEAD], stored(folders["one"])[HEAD])
    assert before == {name: (folder / "model.safetensors").read_bytes() for name, folder in folders.items()}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_every_time(
    folders: dict[str, Path], tmp_path: Path, value: float
) -> None:
    bad = write_model(
        folders["start"], tmp_path / "bad", {HEAD: torch.full_like(stored(folders["start"])[HEAD], value)}
    )
    with opened({**folders, "bad": bad}) as network:
        for _ in range(2):
            with pytest.raises(InputError, match=r"'lm_head.weight' in .*bad has entries that are not finite; train"):
                network.move_to({"one": 0.5, "bad": 0.5})
        network.move_to({"one": 1.0, "bad": 0.0})


def test_a_missing_tensor_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    lacking = write_model(folders["start"], tmp_path / "lacking", {})
    tensors = stored(lacking)
    del tensors[HEAD]
    save_file(tensors, lacking / "model.safetensors", {"format": "pt"})
    with (
        opened({**folders, "lacking": lacking}) as network,
        pytest.raises(InputError, match=r"lacking stores no tensor"),
    ):
        network.move_to({"start": 0.5, "lacking": 0.5})


def test_tensors_are_read_from_every_shard(folders: dict[str, Path], tmp_path: Path) -> None:
    tensors = stored(folders["one"])
    shards = tmp_path / "shards"
    shards.mkdir()
    for number, name in enumerate(tensors):
        save_file({name: tensors[name]}, shards / f"model-{number}.safetensors")
    weights = StoredWeights(shards)
    assert all(torch.equal(weights.tensor(name), tensor) for name, tensor in tensors.items())
    weights.close()
