"""Displacements against closed forms and against everything in memory at once."""

import itertools
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diagnostics.checkpoints import Checkpoints
from diagnostics.cost import Meter
from diagnostics.displacement import Displacements, _Sums, measure
from diagnostics.report.sections.displacement import section
from diagnostics.result import load_result, save_result
from diagnostics.trajectories import Snapshots, trajectories
from training.conflicts.gradients import parameter_group
from training.errors import InputError
from training.intact import read_sealed, write_sealed
from training.merge.folders import merge_folders
from training.model.embedded import write_tiny_llama
from training.model.network import Network
from training.run_directory import BranchDirectory, ReportDirectory

EMBEDDING = "model.embed_tokens.weight"
QUERY = "model.layers.0.self_attn.q_proj.weight"
GATE = "model.layers.1.mlp.gate_proj.weight"

Tensors = dict[str, Tensor]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    write_tiny_llama(folder)
    return folder


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory, start: Path) -> Path:
    """A start of zeros, from which every float32 displacement is exact."""
    return moved(start, tmp_path_factory.mktemp("origin") / "start", lambda name, tensor: 0 * tensor)


def moved(start: Path, folder: Path, change: Callable[[str, Tensor], Tensor]) -> Path:
    shutil.copytree(start, folder)
    tensors = {name: change(name, tensor) for name, tensor in load_file(start / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def shifted(start: Path, folder: Path, shift: Mapping[str, Tensor | float]) -> Path:
    return moved(start, folder, lambda name, tensor: tensor + shift.get(name, 0.0))


def noised(start: Path, folder: Path, seed: int, size: float = 1e-2) -> Path:
    """Every tensor displaced, by a size of its own and with a few heavy entries."""
    rng = np.random.default_rng(seed)

    def change(name: str, tensor: Tensor) -> Tensor:
        noise = rng.standard_t(3, tensor.shape) * size * rng.uniform(0.1, 3)
        return tensor + torch.tensor(noise, dtype=tensor.dtype)

    return moved(start, folder, change)


def averaged(branches: Sequence[Path], weights: Sequence[float], folder: Path, dtype: torch.dtype) -> Path:
    loaded = [load_file(branch / "model.safetensors") for branch in branches]

    def change(name: str, tensor: Tensor) -> Tensor:
        total = sum(w * tensors[name].double() for w, tensors in zip(weights, loaded, strict=True))
        assert isinstance(total, Tensor)
        return total.to(dtype)

    return moved(branches[0], folder, change)


def measured(checkpoints: Checkpoints) -> tuple[Displacements, dict[str, Any]]:
    checkpoints.check()
    with Network(checkpoints.folders, "float32", torch.device("cpu")) as network:
        bench: Any = SimpleNamespace(checkpoints=checkpoints, network=network, meter=Meter())
        return measure(bench)


def test_opposed_and_common_movement_have_their_closed_forms(origin: Path, tmp_path: Path) -> None:
    # Branches share 3 on every embedding, oppose each other by 2 in the queries, and one alone moves the gate.
    one = shifted(origin, tmp_path / "1", {EMBEDDING: 3.0, QUERY: 2.0, GATE: 1.0})
    other = shifted(origin, tmp_path / "2", {EMBEDDING: 3.0, QUERY: -2.0})
    merged = shifted(origin, tmp_path / "m", {EMBEDDING: 3.0, QUERY: -1.0, GATE: 0.25})
    result, _ = measured(Checkpoints(origin, (one, other), (0.25, 0.75), merged))
    sizes = {name: tensor.numel() for name, tensor in load_file(origin / "model.safetensors").items()}
    embeddings, queries, gates = sizes[EMBEDDING], sizes[QUERY], sizes[GATE]

    assert result.norms["branch-1"] ** 2 == pytest.approx(9 * embeddings + 4 * queries + gates, rel=1e-12)
    assert result.norms["merged"] ** 2 == pytest.approx(9 * embeddings + queries + gates / 16, rel=1e-12)
    assert result.norms["average"] == result.norms["merged"]
    assert result.average_error == 0
    assert result.is_average
    scale = result.norms["branch-1"] * result.norms["branch-2"]
    assert result.cosines[0][1] == result.agreement == pytest.approx((9 * embeddings - 4 * queries) / scale, rel=1e-12)
    assert result.contraction.spread == pytest.approx(0.25 * 0.75 * (16 * queries + gates), rel=1e-12)

    movement = 3 * embeddings + 2 * queries + 0.25 * gates
    assert result.cancelled == pytest.approx(queries / movement, rel=1e-12)
    assert result.opposed == pytest.approx(2 * queries / movement, rel=1e-12)
    assert result.opposed_coordinates == pytest.approx(queries / (embeddings + queries + gates), rel=1e-12)

    kinds = {part.name: part for part in result.kinds}
    assert list(kinds) == ["embeddings and head", "attention", "MLP", "norms"]
    assert [part.agreement for part in result.kinds] == [pytest.approx(1), pytest.approx(-1), None, None]
    assert [part.cancelled for part in result.kinds] == [0, 0.5, 0, None]
    assert kinds["MLP"].squared_norms == {"branch-1": gates, "branch-2": 0, "merged": gates / 16, "average": gates / 16}
    assert result.share(kinds["embeddings and head"], "branch-2") == pytest.approx(
        9 * embeddings / (9 * embeddings + 4 * queries)
    )
    assert [part.name for part in result.layers] == [
        "model.embed_tokens",
        "model.layers.0",
        "model.layers.1",
        "model.norm",
    ]


@pytest.mark.parametrize("weights", [(0.5, 0.3, 0.2), (1.5, -0.75, 0.25)])
def test_sums_are_those_of_whole_models_in_memory(start: Path, tmp_path: Path, weights: tuple[float, ...]) -> None:
    branches = tuple(noised(start, tmp_path / f"{seed}", seed) for seed in range(3))
    merged, joint = noised(start, tmp_path / "merged", 3), noised(start, tmp_path / "joint", 4)
    checkpoints = Checkpoints(start, branches, weights, merged, joint)
    result, arrays = measured(checkpoints)

    tensors = {name: load_file(folder / "model.safetensors") for name, folder in checkpoints.folders.items()}
    vectors: dict[str, dict[str, list[np.ndarray]]] = {}
    for name in tensors["start"]:
        for model, its in tensors.items():
            if model != "start":
                # Subtracted in float32, as the network holds them; everything after that in float64.
                difference = (its[name] - tensors["start"][name]).double().numpy().ravel()
                vectors.setdefault(model, {}).setdefault(parameter_group(name), []).append(difference)
    whole = {
        model: np.concatenate([piece for pieces in its.values() for piece in pieces]) for model, its in vectors.items()
    }
    stacked = np.stack([whole[f"branch-{number}"] for number in (1, 2, 3)])
    average = np.array(weights) @ stacked
    whole["average"] = average

    assert list(result.norms) == list(whole) == ["branch-1", "branch-2", "branch-3", "merged", "joint", "average"]
    for (i, (one, left)), (j, right) in itertools.product(enumerate(whole.items()), enumerate(whole.values())):
        assert result.norms[one] == pytest.approx(np.linalg.norm(left), rel=1e-12)
        cosine = left @ right / np.linalg.norm(left) / np.linalg.norm(right)
        assert result.cosines[i][j] == pytest.approx(cosine, abs=1e-12)
    contraction = result.contraction
    assert contraction.average == pytest.approx(average @ average, rel=1e-12)
    assert contraction.branches == pytest.approx(np.array(weights) @ (stacked**2).sum(1), rel=1e-12)
    assert contraction.spread == pytest.approx(np.array(weights) @ ((stacked - average) ** 2).sum(1), rel=1e-12)
    assert abs(contraction.residual) < 1e-12
    longest = max(np.linalg.norm(row) for row in stacked)
    assert result.average_error == pytest.approx(np.linalg.norm(whole["merged"] - average) / longest, rel=1e-12)

    shares = np.array(weights)[:, None] * stacked
    movement = np.abs(shares).sum(0)
    mixed = (shares > 0).any(0) & (shares < 0).any(0)
    assert result.cancelled == pytest.approx(1 - np.abs(average).sum() / movement.sum(), rel=1e-10)
    assert result.opposed == pytest.approx(movement[mixed].sum() / movement.sum(), rel=1e-10)
    assert result.opposed_coordinates == pytest.approx(mixed.mean(), abs=1e-12)
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert result.agreement == pytest.approx(np.mean([result.cosines[i][j] for i, j in pairs]), rel=1e-12)

    group = "model.layers.1.mlp"
    place = list(arrays["groups"]).index(group)
    block = np.stack([np.concatenate(vectors[model][group]) for model in ("branch-1", "branch-2", "branch-3")])
    np.testing.assert_allclose(arrays["gram"][place][:3, :3], block @ block.T, rtol=1e-12)
    for parts in (result.layers, result.kinds):
        for model in result.norms:
            assert sum(result.share(part, model) for part in parts) == pytest.approx(1)


def test_a_large_entry_does_not_hide_a_million_small_ones() -> None:
    # In float32 one large square swallows the small ones, which are half of this sum.
    small = torch.full((2**20,), 2.0**-10)
    sums = _Sums.of([torch.cat([small, torch.tensor([2.0**10])])] * 3, torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert sums.gram[0, 0].item() == 2.0**20 + 1
    assert sums.movement[0].item() == 2.0**10 + 2.0**10
    assert sums.movement[4].item() == 2**20 + 1


@pytest.fixture(scope="module")
def pair(start: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    return noised(start, folder / "1", 10, 3e-3), noised(start, folder / "2", 11, 3e-3)


def test_a_merge_is_known_as_the_average_and_other_weights_as_another(
    start: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    merge_folders("linear", pair, (0.4, 0.6), tmp_path / "merged")
    right, _ = measured(Checkpoints(start, pair, (0.4, 0.6), tmp_path / "merged"))
    assert right.is_average
    assert right.average_error < 1e-5
    wrong, _ = measured(Checkpoints(start, pair, (0.41, 0.59), tmp_path / "merged"))
    assert not wrong.is_average
    apart = np.sqrt(wrong.contraction.spread / (0.41 * 0.59))
    longest = max(wrong.norms["branch-1"], wrong.norms["branch-2"])
    assert wrong.average_error == pytest.approx(0.01 * apart / longest, rel=1e-3)
    said = section(wrong)
    assert "is not the branches' weighted average: it is off by 1." in said.meaning
    assert "is the branches' weighted average to within rounding" in section(right).meaning


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rounding_to_the_stored_dtype_is_allowed_for_and_little_more(
    start: Path, pair: tuple[Path, Path], tmp_path: Path, dtype: torch.dtype
) -> None:
    stored = averaged(pair, (0.5, 0.5), tmp_path / "stored", dtype)
    result, _ = measured(Checkpoints(start, pair, (0.5, 0.5), stored))
    assert result.is_average
    assert 0.1 * result.rounding < result.average_error, "so wide a tolerance would see no wrong merge"
    # Summed in the stored dtype, which rounds every branch and every sum.
    rounded = [averaged([branch], [1.0], tmp_path / f"{branch.name}-rounded", dtype) for branch in pair]
    loaded = [load_file(branch / "model.safetensors") for branch in rounded]
    coarse = moved(rounded[0], tmp_path / "coarse", lambda name, _: 0.5 * loaded[0][name] + 0.5 * loaded[1][name])
    assert measured(Checkpoints(start, pair, (0.5, 0.5), coarse))[0].is_average
    # A merge with a scale of its own is another operator.
    zeros = load_file(start / "model.safetensors")
    scaled = moved(
        pair[0],
        tmp_path / "scaled",
        lambda name, _: (zeros[name] + 2 * (load_file(stored / "model.safetensors")[name].float() - zeros[name])).to(
            dtype
        ),
    )
    assert not measured(Checkpoints(start, pair, (0.5, 0.5), scaled))[0].is_average


def test_courses_follow_the_recorded_steps_and_the_average_waits_for_who_has_ended(
    origin: Path, tmp_path: Path
) -> None:
    one = shifted(origin, tmp_path / "1", {GATE: 1.0})
    other = shifted(origin, tmp_path / "2", {GATE: -1.0})
    merged = shifted(origin, tmp_path / "m", {})
    records = {
        "branch-1": ([2, 4], [[3.0, 0.0], [4.0, 0.0]]),
        "branch-2": ([2, 4, 5], [[0.0, 4.0], [0.0, 8.0], [0.0, 12.0]]),
        "joint": ([4, 8], [[1.0, 0.0], [2.0, 0.0]]),
    }
    directories = {name: BranchDirectory(tmp_path / "runs" / name) for name in records}
    for name, (steps, sketches) in records.items():
        directories[name].root.mkdir(parents=True)
        norms = np.linalg.norm(sketches, axis=1)
        np.savez(directories[name].displacement, steps=steps, norms=norms, sketches=np.float32(sketches))
    checkpoints = Checkpoints(origin, (one, other), (0.5, 0.5), merged, one, trajectories=directories)
    result, _ = measured(checkpoints)
    courses = {course.model: (course.steps, course.norms) for course in result.courses}
    assert courses == {
        "branch-1": ((2, 4), (3, 4)),
        "branch-2": ((2, 4, 5), (4, 8, 12)),
        "joint": ((4, 8), (1, 2)),
        "average": ((2, 4, 5), (2.5, pytest.approx(20**0.5), pytest.approx(40**0.5))),
    }
    assert result.paths is not None
    paths = {path.model: path for path in result.paths.models}
    assert list(paths) == ["branch-1", "branch-2", "joint", "average"]
    assert paths["average"].steps == (2, 4, 5)
    for course in result.courses:  # everything lies in the plane of two buckets
        np.testing.assert_allclose(np.linalg.norm(paths[course.model].points, axis=1), course.norms, rtol=1e-6)
    assert [picture.name for picture in section(result).pictures] == [
        "displacement_by_layer",
        "displacement_over_training",
        "trajectories",
    ]
    directories["branch-2"].displacement.unlink()
    alone, _ = measured(checkpoints)
    assert [course.model for course in alone.courses] == ["branch-1", "joint"]
    assert alone.paths is None
    assert "trajectories" not in [picture.name for picture in section(alone).pictures]


def recorded(*sketches: list[list[float]], steps: Sequence[int] = (1, 2)) -> dict[str, Snapshots]:
    arrays = [np.array(rows) for rows in sketches]
    return {
        f"branch-{number}": Snapshots(np.array(steps[: len(rows)]), np.linalg.norm(rows, axis=1), rows)
        for number, rows in enumerate(arrays, start=1)
    }


def test_paths_of_branches_that_lie_in_a_plane_keep_their_lengths_and_angles() -> None:
    # A rotated copy of a picture drawn in two dimensions.
    drawn = {"branch-1": [[1.0, 0.5], [4.0, 1.0]], "branch-2": [[0.0, -1.0], [1.0, -2.0]]}
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(50, 2)))[0]
    own = recorded(*((np.array(rows) @ basis.T).tolist() for rows in drawn.values()))
    beside = np.array([[3.0, 0.0]]) @ basis.T + 4 * np.linalg.qr(np.column_stack([basis, np.ones(50)]))[0][:, 2]
    own["joint"] = Snapshots(np.array([2]), np.linalg.norm(beside, axis=1), beside)
    found = trajectories(own, ["branch-1", "branch-2"])
    assert found is not None
    assert [path.model for path in found.models] == ["branch-1", "branch-2", "joint"]
    flat = np.concatenate(list(drawn.values()))
    points = np.concatenate([path.points for path in found.models[:2]])
    np.testing.assert_allclose(points @ points.T, flat @ flat.T, atol=1e-9)
    np.testing.assert_allclose([path.inside for path in found.models[:2]], 1)
    np.testing.assert_allclose(found.explained, np.linalg.svd(flat)[1] ** 2 / (flat**2).sum())
    assert sum(found.explained) == pytest.approx(1)
    # What lies beside the plane is projected, and the share that remains is said.
    assert np.linalg.norm(found.models[2].points[0]) == pytest.approx(3)
    assert found.models[2].inside[0] == pytest.approx(9 / 25)
    leading = np.abs(points).argmax(axis=0)
    assert (points[leading, [0, 1]] > 0).all()


def test_paths_along_one_line_have_no_second_axis_and_unmoved_branches_have_none() -> None:
    found = trajectories(recorded([[1.0, 2.0], [2.0, 4.0]], [[-1.0, -2.0]]), ["branch-1", "branch-2"])
    assert found is not None
    assert found.explained == (pytest.approx(1), 0)
    lengths = np.array([point for path in found.models for point in path.points])
    np.testing.assert_allclose(lengths, np.sqrt(5) * np.array([[1, 0], [2, 0], [-1, 0]]), atol=1e-12)
    alone = trajectories(recorded([[3.0, 4.0]]), ["branch-1"])
    assert alone is not None
    assert alone.models[0].points == ((pytest.approx(5), 0),)
    assert trajectories(recorded([[0.0, 0.0]], [[0.0, 0.0]]), ["branch-1", "branch-2"]) is None


def test_a_result_from_before_there_were_paths_is_measured_again(
    start: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    result, arrays = measured(Checkpoints(start, pair, (0.5, 0.5), pair[0]))
    directory = ReportDirectory(tmp_path)
    save_result(directory, "key", result, arrays)
    record = read_sealed(directory.values("displacement"))
    assert record is not None
    del record["result"]["paths"]
    write_sealed(directory.values("displacement"), record)
    assert load_result(directory, Displacements, "key") is None


def test_the_result_survives_its_file_and_models_given_one_by_one_have_no_course(
    start: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    result, arrays = measured(Checkpoints(start, pair, (0.5, 0.5), pair[0]))
    directory = ReportDirectory(tmp_path)
    save_result(directory, "key", result, arrays)
    assert load_result(directory, Displacements, "key") == result
    assert "NaN" not in json.dumps(result.model_dump(mode="json"))
    assert result.courses == ()
    assert [picture.name for picture in section(result).pictures] == ["displacement_by_layer"]
    assert "no sampling interval" in section(result).uncertainty


def test_branches_that_are_the_start_are_refused(start: Path, pair: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=r"^no branch differs from .*; give branches that were trained from it$"):
        measured(Checkpoints(start, (start, start), (0.5, 0.5), pair[0]))
    one_alone, _ = measured(Checkpoints(start, (start, pair[0]), (0.5, 0.5), start))
    assert one_alone.agreement is None
    assert one_alone.cosines[0] == (None, None, None, None)
    assert one_alone.cancelled == pytest.approx(0, abs=1e-12)
    assert "mean cosine" not in section(one_alone).meaning
