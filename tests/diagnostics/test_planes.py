from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diagnostics.planes
from diagnostics.planes import PrincipalPlane, displacement_gram, grid, lines_through_centre
from tests.diagnostics.linear_head import network_of, random_head, stored, write_checkpoints
from training.errors import InputError

seeds = st.integers(0, 2**32 - 1)


def displaced(seed: int, models: int, dimension: int = 9) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(models, dimension)) * rng.uniform(0.1, 10, size=(models, 1))


def names(models: int) -> list[str]:
    return [f"m{number}" for number in range(models)]


@given(seeds, st.integers(2, 6))
def test_the_plane_is_that_of_the_singular_vectors_and_its_points_are_combinations(seed: int, models: int) -> None:
    displacements = displaced(seed, models)
    plane = PrincipalPlane.of(names(models), displacements @ displacements.T)
    _, singular, directions = np.linalg.svd(displacements)
    axes = plane.axes.T @ displacements
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-8)
    if singular[1] > 1.01 * singular[min(2, models - 1)] or models == 2:
        projector = directions[:2].T @ directions[:2]
        np.testing.assert_allclose(axes.T @ axes, projector, atol=1e-6)
    np.testing.assert_allclose(plane.coordinates, displacements @ axes.T, atol=1e-7 * singular[0])
    inside = ((displacements @ axes.T) ** 2).sum(axis=1) / (displacements**2).sum(axis=1)
    np.testing.assert_allclose(plane.inside, inside, rtol=1e-6)
    np.testing.assert_allclose(plane.explained, singular[:2] ** 2 / (singular**2).sum(), rtol=1e-6)
    assert (plane.coordinates[np.abs(plane.coordinates).argmax(axis=0), [0, 1]] > 0).all()

    point = plane.point(0.7, -1.3)
    assert sum(point.values()) == pytest.approx(1)
    reached = sum(point[name] * displacement for name, displacement in zip(names(models), displacements, strict=True))
    np.testing.assert_allclose(reached, 0.7 * axes[0] - 1.3 * axes[1], atol=1e-7 * max(1, 1 / singular[1]))


def test_two_checkpoints_and_their_average_lie_wholly_in_the_plane() -> None:
    displacements = displaced(0, 2)
    three = np.vstack([displacements, displacements.mean(axis=0)])
    plane = PrincipalPlane.of(names(3), three @ three.T)
    np.testing.assert_allclose(plane.inside, 1, rtol=1e-9)
    assert plane.explained.sum() == pytest.approx(1)
    np.testing.assert_allclose(plane.coordinates[2], plane.coordinates[:2].mean(axis=0))


def test_a_model_that_did_not_move_is_in_the_plane() -> None:
    displacements = np.vstack([displaced(0, 2), np.zeros(9)])
    plane = PrincipalPlane.of(names(3), displacements @ displacements.T)
    np.testing.assert_allclose(plane.inside, 1)
    np.testing.assert_allclose(plane.coordinates[2], 0, atol=1e-9)


@pytest.mark.parametrize("factors", [[1.0, 2.0, -3.0], [0.0, 0.0, 0.0], [1.0]])
def test_displacements_on_a_line_span_no_plane(factors: list[float]) -> None:
    displacements = np.outer(factors, displaced(0, 1)[0])
    with pytest.raises(
        InputError, match="lie on one line through the start and span no plane; leave it out with --set"
    ):
        PrincipalPlane.of(names(len(factors)), displacements @ displacements.T)


@pytest.mark.parametrize("chunk", [5, 2**16])
def test_the_gram_matrix_is_that_of_whole_models(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics.planes, "CHUNK", chunk)
    checkpoints = write_checkpoints(tmp_path, {"joint": random_head(7)})
    models = ["branch-1", "branch-2", "merged", "joint"]
    start = stored(checkpoints.start)
    vectors = []
    for name in models:
        own = stored(checkpoints.folders[name])
        vectors.append(np.concatenate([(own[key] - start[key]).double().numpy().ravel() for key in start]))
    with network_of(checkpoints, "float32") as network:
        np.testing.assert_allclose(
            displacement_gram(network, models), np.array(vectors) @ np.array(vectors).T, rtol=1e-12
        )


def test_a_grid_is_square_and_leaves_its_margin_on_the_wider_side() -> None:
    positions = np.array([[0.0, 0.0], [4.0, 1.0], [2.0, -1.0]])
    first, second = grid(positions, 5, 0.25)
    np.testing.assert_allclose(first, [-1, 0.5, 2, 3.5, 5])
    np.testing.assert_allclose(second, [-3, -1.5, 0, 1.5, 3])


@pytest.mark.parametrize("points", [3, 4, 7, 8, 15])
def test_lines_hold_every_position_but_the_centre_once_and_shrink_from_the_rim(points: int) -> None:
    seen = []
    for line in lines_through_centre(points):
        assert line[0][2] == 1
        row, column, _ = line[0]
        here = np.array([row, column]) - (points - 1) / 2
        for row, column, ratio in line:
            here = ratio * here
            assert abs(ratio) <= 1
            np.testing.assert_allclose(here, np.array([row, column]) - (points - 1) / 2, atol=1e-12)
            seen.append((row, column))
    everywhere = {(row, column) for row in range(points) for column in range(points)}
    if points % 2:
        everywhere.remove((points // 2, points // 2))
    assert len(seen) == len(set(seen))
    assert set(seen) == everywhere
