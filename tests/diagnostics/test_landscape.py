"""Loss surfaces against a quadratic loss whose value at every weight is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diagnostics.bench import Bench
from diagnostics.landscape import RADIUS, Landscape, Surface, expected_tokens, measure
from diagnostics.noise import Noise, noise_seeds
from diagnostics.report.sections.landscape import section
from diagnostics.resampling import interval_of
from diagnostics.result import Arrays, load_result, save_result
from tests.diagnostics.linear_head import (
    HEAD,
    answers,
    bench_of,
    head_losses,
    network_of,
    random_head,
    stored,
    write_checkpoints,
)
from training.errors import InputError


def settings(**values: Any) -> dict[str, Any]:
    return {"landscape": {"points": 5, "per_task": None, **values}}


def measured(
    root: Path, heads: dict[str, torch.Tensor], values: dict[str, Any], precision: str = "float64"
) -> tuple[Landscape, Arrays]:
    checkpoints = write_checkpoints(root, heads)
    with network_of(checkpoints, precision) as network:
        return measure(bench_of(checkpoints, network, values))


def surface_of(result: Landscape, plane: str) -> Surface:
    return next(surface for surface in result.surfaces if surface.plane == plane)


@pytest.mark.parametrize("points", [5, 4])
def test_both_surfaces_are_the_losses_of_the_heads_at_their_points(tmp_path: Path, points: int) -> None:
    checkpoints = write_checkpoints(tmp_path, {"joint": random_head(7)})
    with network_of(checkpoints) as network:
        pairs = answers(network)
        bench = bench_of(checkpoints, network, settings(points=points))
        result, arrays = measure(bench)
        seeds = [noise_seeds(bench, "landscape axis", axis) for axis in (0, 1)]
    heads = {name: stored(folder)[HEAD].double() for name, folder in checkpoints.folders.items()}
    tokens = sum(len(hidden) for hidden, _ in pairs)

    random = surface_of(result, "random")
    assert random.first == random.second == pytest.approx(tuple(np.linspace(-RADIUS, RADIUS, points)))
    axes = [Noise("filter-normalised", 1.0, own)(HEAD, heads["merged"]) for own in seeds]
    assert axes[0] is not None
    assert axes[1] is not None
    assert random.unit == pytest.approx(axes[0].norm().item())
    assert random.positions == {"merged": (0, 0)}
    for row, y in enumerate(random.second):
        for column, x in enumerate(random.first):
            expected = head_losses(pairs, heads["merged"] + x * axes[0] + y * axes[1])
            np.testing.assert_allclose(arrays["random-losses"][row, column], expected, rtol=1e-9)
            assert random.losses[row][column] == pytest.approx(expected.sum() / tokens)

    pca = surface_of(result, "pca")
    names = [name for name in heads if name != "start"]
    shifts = np.array([(heads[name] - heads["start"]).numpy().ravel() for name in names])
    directions = np.linalg.svd(shifts, full_matrices=False)[2][:2]
    places = np.array([pca.positions[name] for name in names])
    directions *= np.sign((shifts @ directions.T)[np.abs(places).argmax(axis=0), [0, 1]])[:, None]
    np.testing.assert_allclose(places, shifts @ directions.T, atol=1e-9)
    for row, y in enumerate(pca.second):
        for column, x in enumerate(pca.first):
            head = heads["start"] + torch.tensor((x * directions[0] + y * directions[1]).reshape(heads["start"].shape))
            np.testing.assert_allclose(arrays["pca-losses"][row, column], head_losses(pairs, head), rtol=1e-6)
    covered = np.array(list(pca.positions.values()))
    assert (covered > (pca.first[0], pca.second[0])).all()
    assert (covered < (pca.first[-1], pca.second[-1])).all()
    assert result.merged.value == pytest.approx(head_losses(pairs, heads["merged"]).sum() / tokens)
    assert bench.meter.tokens == expected_tokens(bench)


def test_the_minimum_is_the_lowest_point_compared_with_the_merged_model_on_the_same_draws(tmp_path: Path) -> None:
    checkpoints = write_checkpoints(tmp_path, {"joint": random_head(7, 0.01)})
    with network_of(checkpoints) as network:
        bench = bench_of(checkpoints, network, settings(planes=("pca",)))
        result, arrays = measure(bench)
    (surface,) = result.surfaces
    losses = np.array(surface.losses, dtype=float)
    row, column = np.unravel_index(losses.argmin(), losses.shape)
    assert surface.minimum.position == (surface.first[column], surface.second[row])
    assert surface.minimum.loss.value == losses.min()
    assert surface.minimum.at_edge == (row in (0, 4) or column in (0, 4))
    draws = bench.resamples.means(np.asarray(arrays["pca-losses"])[row, column] - np.asarray(arrays["merged"]))
    expected = interval_of(losses.min() - result.merged.value, draws)
    found = surface.minimum.minus_merged
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_a_merged_model_at_the_optimum_of_its_head_is_the_lowest_point_of_any_plane(tmp_path: Path) -> None:
    checkpoints = write_checkpoints(tmp_path / "first", {})
    with network_of(checkpoints) as network:
        pairs = answers(network)
    hidden, targets = (torch.cat(part) for part in zip(*pairs, strict=True))
    best = torch.linalg.lstsq(hidden, targets).solution.T.float().contiguous()
    result, _ = measured(tmp_path / "second", {"merged": best, "branch-1": 2 * best}, settings())
    random, pca = surface_of(result, "random"), surface_of(result, "pca")
    assert random.minimum.position == (0, 0)
    assert (random.minimum.minus_merged.value, random.minimum.minus_merged.high) == (0, 0)
    assert not random.minimum.at_edge
    assert pca.minimum.minus_merged.value > -1e-9
    told = section(result)
    assert "around the merged model the lowest point of the grid is not separated from" in told.meaning


def test_a_minimum_on_the_rim_is_told(tmp_path: Path) -> None:
    # The merged head is far from the optimum and every direction through it is nearly linear.
    result, _ = measured(tmp_path, {"merged": random_head(1, 100.0)}, settings(planes=("random",)))
    (surface,) = result.surfaces
    assert surface.minimum.at_edge
    assert surface.minimum.minus_merged.high < 0
    told = section(result)
    assert "lies below the merged model's own loss" in told.meaning
    assert "on the rim" in told.meaning
    assert "optimistic" in told.uncertainty


def test_points_that_overflow_are_none_and_counted(tmp_path: Path) -> None:
    heads = {"branch-1": random_head(1, 3e18), "branch-2": random_head(2, 3e18), "merged": random_head(4)}
    result, arrays = measured(tmp_path, heads, settings(planes=("pca",)), "float32")
    (surface,) = result.surfaces
    finite = np.isfinite(np.asarray(arrays["pca-losses"], dtype=float)).all(axis=2)
    assert 0 < surface.overflowed == (~finite).sum() < finite.size
    assert all(
        (loss is not None) == good
        for line, row in zip(surface.losses, finite, strict=True)
        for loss, good in zip(line, row, strict=True)
    )
    assert f"{surface.overflowed} points overflowed" in section(result).meaning
    assert Landscape.model_validate_json(result.model_dump_json()) == result


def test_the_result_comes_back_from_the_disk_as_it_was(tmp_path: Path) -> None:
    checkpoints = write_checkpoints(tmp_path, {"joint": random_head(7)})
    with network_of(checkpoints) as network:
        bench: Bench = bench_of(checkpoints, network, settings(points=3))
        result, arrays = measure(bench)
        again, _ = measure(bench)
    save_result(bench.directory, "key", result, arrays)
    assert load_result(bench.directory, Landscape, "key") == result
    assert again.model_dump(exclude={"cost"}) == result.model_dump(exclude={"cost"})


def test_the_section_says_how_much_of_each_checkpoint_is_in_the_plane(tmp_path: Path) -> None:
    result, _ = measured(tmp_path, {"joint": random_head(7)}, settings(points=3))
    told = section(result)
    assert [table.rows[0][0] for table in told.tables] == ["merged model itself", "start"]
    shares = {row[0]: row[3] for row in told.tables[1].rows}
    inside = surface_of(result, "pca").inside
    assert shares == {"start": "–", **{name: f"{100 * share:.1f} %" for name, share in inside.items()}}
    assert 0.5 < inside["joint"] <= 1


def test_a_single_example_of_each_task_still_has_an_interval(tmp_path: Path) -> None:
    result, _ = measured(tmp_path, {}, settings(points=3, per_task=1, planes=("pca",)))
    assert result.items == 2
    assert result.merged.low < result.merged.high


@pytest.mark.parametrize(
    ("heads", "planes", "message"),
    [
        ({}, (), "landscape.planes is empty; name pca, random or both"),
        ("line", ("pca",), "the checkpoints lie on one line"),
    ],
)
def test_what_spans_no_plane_is_refused(tmp_path: Path, heads: Any, planes: tuple[str, ...], message: str) -> None:
    if heads == "line":
        heads = dict.fromkeys(("branch-1", "branch-2", "merged"), random_head(5))
    with pytest.raises(InputError, match=message):
        measured(tmp_path, heads, settings(planes=planes))
