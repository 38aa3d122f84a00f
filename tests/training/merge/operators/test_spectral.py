"""STAR, TSV-M, Iso-C and Iso-CTS: their formulas by brute force, their laws, and fusion_bench beside them."""

import importlib
from typing import Any

import numpy as np
import pytest
import torch

from training.merge.operators.iso_c import IsoC
from training.merge.operators.iso_cts import IsoCts
from training.merge.operators.star import Star
from training.merge.operators.tsv_m import TsvM
from training.merge.spectral import SpectralOperator

OPERATORS = (Star(), TsvM(), IsoC(), IsoCts(), Star(kept=0.9), IsoCts(common=0.3))
SHAPES = [(12, 12), (20, 9), (9, 20)]
WEIGHTS = (0.5, 0.3, 0.2)


def displacements(shape: tuple[int, int], count: int = 3, seed: int = 0) -> np.ndarray:
    """Float64 matrices with a common part, and singular values that fall off."""
    rng = np.random.default_rng(seed)
    common, fall = rng.normal(size=shape), 0.7 ** np.arange(min(shape))
    own = rng.normal(size=(count, *shape)) + common
    left, _, right = np.linalg.svd(own, full_matrices=False)
    return (left * (fall * (1 + 0.1 * rng.random((count, 1, len(fall)))))) @ right


def orthogonal(size: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


@pytest.mark.parametrize("operator", OPERATORS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_rotating_rows_and_columns_rotates_the_merge(operator: SpectralOperator, shape: tuple[int, int]) -> None:
    given = displacements(shape)
    left, right = orthogonal(shape[0], 1), orthogonal(shape[1], 2)
    turned = operator.merged(left @ given @ right, WEIGHTS)
    np.testing.assert_allclose(turned, left @ operator.merged(given.copy(), WEIGHTS) @ right, atol=1e-10)


@pytest.mark.parametrize("operator", OPERATORS, ids=str)
def test_twice_the_displacements_give_twice_the_merge(operator: SpectralOperator) -> None:
    given = displacements((20, 9))
    merged = operator.merged(given.copy(), WEIGHTS)
    np.testing.assert_allclose(operator.merged(2 * given, WEIGHTS), 2 * merged, atol=1e-12)
    assert np.abs(merged).max() > 1e-2


@pytest.mark.parametrize("operator", OPERATORS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_branches_that_did_not_move_merge_to_no_movement(operator: SpectralOperator, shape: tuple[int, int]) -> None:
    assert not operator.merged(np.zeros((3, *shape)), WEIGHTS).any()


def test_star_keeps_the_nuclear_norm_and_the_fewest_directions_that_hold_the_share() -> None:
    (given,) = displacements((20, 9), 1)
    merged = Star(kept=0.6).merged(given[None].copy(), (1.0,))
    values, kept = np.linalg.svd(given)[1], np.linalg.svd(merged)[1]
    rank = int((kept > 1e-10).sum())
    shares = np.cumsum(values) / values.sum()
    assert shares[rank - 1] >= 0.6 > shares[rank - 2]
    np.testing.assert_allclose(kept.sum(), values.sum())


def test_star_averages_what_it_truncated_by_the_weights() -> None:
    given = displacements((12, 12))
    alone = [Star().merged(own[None].copy(), (1.0,)) for own in given]
    np.testing.assert_allclose(Star().merged(given, WEIGHTS), np.tensordot(WEIGHTS, alone, 1), atol=1e-12)


def test_tsv_m_of_one_branch_is_that_branch() -> None:
    given = displacements((20, 9), 1)
    np.testing.assert_allclose(TsvM().merged(given.copy(), (1.0,)), given[0], atol=1e-12)


def test_tsv_m_adds_up_the_strongest_directions_of_branches_that_do_not_interfere() -> None:
    first, second = np.diag([4.0, 3.0, 0, 0, 0, 0]), np.diag([0, 0, 5.0, 1.0, 0.5, 0.1])
    merged = TsvM().merged(np.stack([first, second]), (0.5, 0.5))
    np.testing.assert_allclose(merged, np.diag([4.0, 3.0, 5.0, 1.0, 0.5, 0]), atol=1e-12)


def test_tsv_m_of_equal_branches_is_their_truncation_and_not_made_up() -> None:
    """Where branches agree the frames are singular, and a plain decomposition fills them with arbitrary directions."""
    (given,) = displacements((12, 12), 1)
    left, values, right = np.linalg.svd(given)
    values[6:] = 0
    merged = TsvM().merged(np.stack([given, given]), (0.5, 0.5))
    np.testing.assert_allclose(merged, (left * values) @ right, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_iso_c_has_one_singular_value_the_mean_of_the_sums(shape: tuple[int, int]) -> None:
    given = displacements(shape)
    left, values, right = np.linalg.svd(given.sum(axis=0), full_matrices=False)
    merged = IsoC().merged(given.copy(), WEIGHTS)
    np.testing.assert_allclose(np.linalg.svd(merged)[1], values.mean())
    np.testing.assert_allclose(merged, values.mean() * left @ right, atol=1e-10)


def test_iso_c_leaves_directions_in_which_nothing_moved_alone() -> None:
    merged = IsoC().merged(np.diag([3.0, 0.0, 1.0])[None].copy(), (1.0,))
    np.testing.assert_allclose(merged, np.diag([4 / 3, 0, 4 / 3]), atol=1e-12)


def test_iso_cts_with_all_directions_common_is_iso_c() -> None:
    given = displacements((20, 9))
    np.testing.assert_allclose(
        IsoCts(common=1.0).merged(given.copy(), WEIGHTS), IsoC().merged(given.copy(), WEIGHTS), atol=1e-10
    )


def test_iso_cts_keeps_branches_apart_that_share_no_direction() -> None:
    first, second = np.diag([9.0, 2, 0, 0]), np.diag([0, 0, 8.0, 1.0])
    merged = IsoCts(common=0.5).merged(np.stack([first, second]), (0.5, 0.5))
    np.testing.assert_allclose(merged, 5 * np.eye(4), atol=1e-12)


@pytest.mark.parametrize("embeddings", ["matrix", "mean"])
def test_matrices_are_merged_and_everything_else_averaged(merge: Any, embeddings: str) -> None:
    rng = np.random.default_rng(3)
    start = {
        "model.embed_tokens.weight": rng.normal(size=(20, 6)).astype(np.float32),
        "layer.weight": rng.normal(size=(8, 6)).astype(np.float32),
        "norm.weight": rng.normal(size=6).astype(np.float32),
        "frozen.weight": rng.normal(size=(4, 4)).astype(np.float32),
    }
    moved = [{n: v + (n != "frozen.weight") * rng.normal(size=v.shape).astype(np.float32) for n, v in start.items()}]
    moved.append(
        {n: v + (n != "frozen.weight") * rng.normal(size=v.shape).astype(np.float32) for n, v in start.items()}
    )
    got = merge("iso-c", moved, start, (0.75, 0.25), scale=0.5, embeddings=embeddings)
    for name, value in start.items():
        steps = np.stack([branch[name] - value for branch in moved])
        is_matrix = value.ndim == 2 and (embeddings == "matrix" or "embed" not in name)
        step = IsoC().merged(steps.astype(np.float64), ()) if is_matrix else 0.75 * steps[0] + 0.25 * steps[1]
        np.testing.assert_allclose(got[name], value + 0.5 * step, atol=1e-5)
    assert got["frozen.weight"].tobytes() == start["frozen.weight"].tobytes()


PEERS: dict[str, tuple[SpectralOperator, str, str, dict[str, Any]]] = {
    "iso-c": (IsoC(), "isotropic_merging.iso_utils", "iso_c", {}),
    "iso-cts": (IsoCts(), "isotropic_merging.iso_utils", "iso_cts", {"common_space_fraction": 0.8}),
    "tsv-m": (TsvM(), "task_singular_vector.utils.TSVM_utils", "compute_and_sum_svd_mem_reduction", {}),
}


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.filterwarnings("ignore")
def test_the_merge_is_fusion_benchs(name: str, shape: tuple[int, int]) -> None:
    pytest.importorskip("fusion_bench")
    operator, module, function, settings = PEERS[name]
    theirs = getattr(importlib.import_module(f"fusion_bench.method.{module}"), function)
    given = displacements(shape)
    vectors = [{"w": torch.from_numpy(own)} for own in given]
    expected = theirs(vectors, accelerator="cpu", **settings)["w"].numpy()
    np.testing.assert_allclose(operator.merged(given, WEIGHTS), expected, atol=1e-10)
