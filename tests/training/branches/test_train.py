"""Branches trained for real, on a tiny random Llama."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.arms.names import parse_arm
from training.arms.specifier import Specifier
from training.branches.finished import finished_branch
from training.branches.spec import BranchSpec
from training.branches.train import train_branch
from training.config import MixtureSettings, Recipe
from training.errors import InputError
from training.interruption import Interrupted
from training.merge.second_moments import open_second_moments
from training.mixture import Mixture, freeze
from training.model.batching import encode, micro_batches
from training.model.load import load_model, load_tokenizer
from training.model.loss import answer_losses
from training.model.start import PlacedModel
from training.run_directory import BranchDirectory, folder_hash, write_json

GROUPS = [["ash", "elm"], ["birch"]]
ROWS = {"ash": 5, "birch": 8, "elm": 3}
SGD = {"optimizer": "sgd", "learning_rate": 0.05}


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    folder, rng = tmp_path_factory.mktemp("mixture"), np.random.default_rng(3)
    for task, count in ROWS.items():
        rows = [{"prompt": f"{task} {n}", "response": "x" * int(rng.integers(1, 9))} for n in range(count + 3)]
        (folder / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks: list[Any] = [str(folder / f"{task}.jsonl") for task in ROWS]
    frozen = freeze(MixtureSettings(tasks=tasks, calibration=2, test=1), 0, folder / "mixture")
    assert {task.name: task.counts["train"] for task in frozen.tasks} == ROWS
    return frozen


@pytest.fixture(scope="module")
def specify(mixture: Mixture, tiny_folder: Path) -> Callable[..., list[BranchSpec]]:
    """The branches of an arm in float32, or another precision, with changes of the recipe's settings for branches."""

    def specs(arm: str, precision: str = "float32", **branch: Any) -> list[BranchSpec]:
        settings = {"batch_size": 4, "learning_rate": 1e-3, "displacement_every": 2} | branch
        recipe = Recipe.model_validate({"mixture": {"tasks": ["x"]}, "branch": settings})
        tasks = {task.name: task for task in mixture.tasks}
        make = Specifier(recipe, tasks, PlacedModel(folder_hash(tiny_folder), precision), sketch_seed=7)
        places = {"start_path": str(tiny_folder), "mixture_path": str(mixture.tasks[0].folder.parent)}
        return [spec.model_copy(update=places) for spec in make.branches(parse_arm(arm, {}), GROUPS)]

    return specs


def train(spec: BranchSpec, out: Path, stopping: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    write_json(out / "spec.json", spec.model_dump())
    return train_branch(out / "spec.json", out, "cpu", lambda tokens: None, stopping)


def train_in_pieces(spec: BranchSpec, out: Path) -> int:
    """Stop after every step; the number of times that took."""
    for stops in range(100):
        try:
            train(spec, out, lambda: True)
        except Interrupted:
            continue
        return stops
    raise AssertionError("it never ends")


def weights(out: Path) -> dict[str, Tensor]:
    return load_file(BranchDirectory(out).model / "model.safetensors")


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return sum((one[name] - other[name]).double().square().sum().item() for name in one) ** 0.5


@pytest.mark.parametrize(("arm", "moments"), [("iid-2", "full"), ("soup-split-2", "rank-1")])
def test_a_branch_stopped_after_every_step_leaves_the_same_files_bit_for_bit(
    specify: Callable[..., list[BranchSpec]], tmp_path: Path, arm: str, moments: str
) -> None:
    spec = specify(arm)[-1].model_copy(update={"second_moments": moments})
    whole, pieces = BranchDirectory(tmp_path / "whole"), BranchDirectory(tmp_path / "pieces")
    done = train(spec, whole.root)
    assert train_in_pieces(spec, pieces.root) == spec.steps - 1 >= 1
    again = json.loads(pieces.done.read_text())
    differing = {"seconds", "peak_memory_bytes", "content_sha256"}
    assert {key: value for key, value in again.items() if key not in differing} == {
        key: value for key, value in done.items() if key not in differing
    }
    assert (whole.model / "model.safetensors").read_bytes() == (pieces.model / "model.safetensors").read_bytes()
    assert whole.second_moments.read_bytes() == pieces.second_moments.read_bytes()
    steps = [json.loads(line) for line in pieces.metrics.read_text().splitlines()]
    sizes = [step["learning_rate"] * min(1.0, 1.0 / step["gradient_norm"]) for step in steps]
    assert spec.settings.clip_norm == 1.0
    assert done["reach"] == pytest.approx(sum(sizes), rel=1e-12)
    assert done["squared_reach"] == pytest.approx(sum(size**2 for size in sizes), rel=1e-12)


# --- what the arms train ----------------------------------------------------------------------------------------------


def test_shares_pass_together_the_tokens_of_joint_training(
    specify: Callable[..., list[BranchSpec]], tmp_path: Path
) -> None:
    (joint,) = (train(spec, tmp_path / "joint") for spec in specify("joint"))
    shares = [train(spec, tmp_path / spec.hash) for spec in specify("iid-2")]
    assert [done["examples"] for done in shares] == [3 + 4 + 2, 2 + 4 + 1]
    assert sum(done["tokens"] for done in shares) == joint["tokens"]
    assert distance(weights(tmp_path / specify("iid-2")[0].hash), weights(tmp_path / specify("iid-2")[1].hash)) > 0


def relative_distance_to_stratified(
    specify: Callable[..., list[BranchSpec]], tmp_path: Path, start: Path, **branch: Any
) -> float:
    found = []
    for arm in ("joint-stratified-merit-1d", "joint-equal-steps-2"):
        (spec,) = specify(arm, "float64", **SGD, clip_norm="off", **branch)
        train(spec, tmp_path / arm)
        found.append(weights(tmp_path / arm))
    begun = {name: tensor.double() for name, tensor in load_file(start / "model.safetensors").items()}
    return distance(*found) / distance(found[0], begun)


def test_stratified_batches_change_nothing_where_every_batch_is_all_the_data(
    specify: Callable[..., list[BranchSpec]], tmp_path: Path, tiny_folder: Path
) -> None:
    assert relative_distance_to_stratified(specify, tmp_path, tiny_folder, batch_size=1000, epochs=3) < 1e-10


def test_they_change_the_path_where_it_is_not(
    specify: Callable[..., list[BranchSpec]], tmp_path: Path, tiny_folder: Path
) -> None:
    assert relative_distance_to_stratified(specify, tmp_path, tiny_folder, batch_size=2) > 1e-4


# --- second moments ---------------------------------------------------------------------------------------------------


def squared_gradient(start: Path, tasks: Sequence[Any]) -> dict[str, Tensor]:
    """Of the mean answer loss over all training rows, by parameter."""
    model, tokenizer = load_model(start, "float32", torch.device("cpu")), load_tokenizer(start)
    examples = [example for task in tasks for example in encode(task.rows("train"), tokenizer, 512, task.name)]
    total = sum(example.answer_tokens for example in examples)
    for batch in micro_batches(examples, 2048):
        (answer_losses(model, batch, "cross-entropy")[0].sum() / total).backward()
    return {name: parameter.grad.square() for name, parameter in model.named_parameters()}


@pytest.fixture(scope="module")
def one_step(specify: Callable[..., list[BranchSpec]]) -> BranchSpec:
    """All rows at once, so that the moments are known: v = (1 - β₂) g²."""
    return specify("joint", batch_size=16, beta2=0.75, clip_norm="off")[0].model_copy(update={"second_moments": "full"})


@pytest.fixture(scope="module")
def kept(one_step: BranchSpec, tmp_path_factory: pytest.TempPathFactory) -> BranchDirectory:
    """That step taken; read only."""
    paths = BranchDirectory(tmp_path_factory.mktemp("kept"))
    train(one_step, paths.root)
    return paths


def test_the_moments_after_one_step_are_the_squared_gradient_of_every_tensor(
    kept: BranchDirectory, mixture: Mixture, tiny_folder: Path
) -> None:
    moments = load_file(kept.second_moments)
    expected = squared_gradient(tiny_folder, mixture.tasks)
    assert moments.keys() == expected.keys() == weights(kept.root).keys()
    for name, moment in moments.items():
        assert moment.dtype == torch.float32
        torch.testing.assert_close(moment, 0.25 * expected[name], rtol=1e-4, atol=1e-4 * moment.max().item())


def test_sums_of_rows_and_columns_are_those_of_the_full_moments_and_are_read_back_as_their_product(
    one_step: BranchSpec, kept: BranchDirectory, tmp_path: Path
) -> None:
    compressed = BranchDirectory(tmp_path)
    train(one_step.model_copy(update={"second_moments": "rank-1"}), tmp_path)
    full, sums = load_file(kept.second_moments), load_file(compressed.second_moments)
    matrices = [name for name, moment in full.items() if moment.dim() == 2]
    parts = {f"{name}/{kind}" for name in matrices for kind in ("rows", "columns")}
    assert sums.keys() == parts | (full.keys() - set(matrices))
    with open_second_moments(compressed.model) as read:
        for name, moment in full.items():
            if name not in matrices:
                assert torch.equal(sums[name], moment)
                continue
            torch.testing.assert_close(sums[f"{name}/rows"], moment.sum(1), rtol=1e-5, atol=0)
            torch.testing.assert_close(sums[f"{name}/columns"], moment.sum(0), rtol=1e-5, atol=0)
            expected = torch.outer(moment.sum(1), moment.sum(0)) / moment.sum()
            found = np.empty(moment.numel(), np.float32)
            read.read(name, 0, found)
            torch.testing.assert_close(torch.from_numpy(found), expected.flatten(), rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize("form", ["full", "rank-1"])
def test_moments_that_are_not_the_models_are_refused_and_never_read_as_zero(
    one_step: BranchSpec, tmp_path: Path, form: str
) -> None:
    paths = BranchDirectory(tmp_path)
    train(one_step.model_copy(update={"second_moments": form}), tmp_path)
    whole = load_file(paths.second_moments)
    name = next(
        name for name in whole if name.endswith("norm.weight" if form == "full" else "embed_tokens.weight/rows")
    )
    without = {other: moments for other, moments in whole.items() if other != name}
    wrong = {
        "another's": without | {f"model.other.{name.rpartition('.')[2]}": whole[name]},
        "too long": without | {name: torch.cat([whole[name]] * 2)},
        "in other precision": without | {name: whole[name].double()},
    }
    if form == "rank-1":
        wrong["columns alone"] = without
    for damaged in wrong.values():
        save_file(damaged, paths.second_moments)
        with pytest.raises(InputError, match="which is of no tensor of"), open_second_moments(paths.model):
            pass
    for number in (float("nan"), float("inf"), -1.0):
        save_file(whole | {name: torch.full_like(whole[name], number)}, paths.second_moments)
        with (
            pytest.raises(InputError, match="hold what is no mean of squares") as caught,
            open_second_moments(paths.model) as read,
        ):
            read.read(name, 0, np.empty(whole[name].numel(), np.float32))
        assert repr(name) in str(caught.value)


def test_moments_that_are_wanted_and_not_there_are_had_by_training_again_to_the_same_weights(
    one_step: BranchSpec, kept: BranchDirectory, tmp_path: Path
) -> None:
    paths, unwanted = BranchDirectory(tmp_path), one_step.model_copy(update={"second_moments": "none"})
    first = train(unwanted, tmp_path)
    assert not paths.second_moments.exists()
    assert finished_branch(paths, one_step.hash, "full") is None
    done = train(one_step, tmp_path)
    assert done["sha256"] == first["sha256"]
    assert paths.second_moments.read_bytes() == kept.second_moments.read_bytes()
    assert finished_branch(paths, one_step.hash, "full") == done == train(unwanted, tmp_path)
    assert finished_branch(paths, one_step.hash, "rank-1") is None
    whole = paths.second_moments.read_bytes()
    paths.second_moments.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert finished_branch(paths, one_step.hash, "full") is None
    assert finished_branch(paths, one_step.hash) == done


def test_moments_are_not_to_be_had_of_sgd(specify: Callable[..., list[BranchSpec]], tmp_path: Path) -> None:
    (spec,) = specify("joint", **SGD)
    with pytest.raises(InputError, match=r"asks for Adam's second moments and has optimizer 'sgd'; train with"):
        train(spec.model_copy(update={"second_moments": "full"}), tmp_path)
    assert not BranchDirectory(tmp_path).metrics.exists()
