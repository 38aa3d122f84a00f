"""Stored vectors: what comes back, sums in float64, rotation in place, and the budget."""

import pytest
import torch

from diagnostics.curvature import basis as basis_module
from diagnostics.curvature.basis import Basis

ROUNDING = {torch.float16: 2**-11, torch.float32: 2**-24, torch.float64: 2**-53}


def orthonormal(dimension: int, count: int, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(dimension, count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(noise).Q.T.contiguous()


def filled(vectors: torch.Tensor, storage: torch.dtype) -> Basis:
    basis = Basis(len(vectors), vectors.shape[1], storage)
    for vector in vectors:
        basis.append(vector)
    return basis


@pytest.fixture(params=[7, basis_module.CHUNK_ELEMENTS], ids=["many chunks", "one chunk"])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basis_module, "CHUNK_ELEMENTS", request.param)


@pytest.mark.parametrize("storage", ROUNDING)
@pytest.mark.parametrize("dimension", [5, 1000])
def test_a_vector_comes_back_within_the_rounding_of_its_storage(storage: torch.dtype, dimension: int) -> None:
    vectors = orthonormal(dimension, 3)
    basis = filled(vectors, storage)
    for index, vector in enumerate(vectors):
        assert (basis.vector(index, vector) - vector).norm() <= ROUNDING[storage]


def test_scaled_float16_keeps_what_plain_float16_loses() -> None:
    vector = torch.nn.functional.normalize(torch.randn(10**6, generator=torch.Generator().manual_seed(0)), dim=0) / 100
    stored = filled(vector[None], torch.float16).vector(0, vector)
    assert (stored - vector).norm() <= 2**-11 * vector.norm()
    assert (vector.half().float() - vector).norm() > 2**-10 * vector.norm()


def test_scaled_float16_holds_a_unit_vector_with_one_entry() -> None:
    vector = torch.zeros(10**7)
    vector[3] = 1
    assert torch.equal(filled(vector[None], torch.float16).vector(0, vector), vector)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("storage", ROUNDING)
def test_dots_and_combinations_are_those_of_the_stored_vectors(storage: torch.dtype) -> None:
    vectors = orthonormal(50, 4)
    basis = filled(vectors, storage)
    stored = torch.stack([basis.vector(index, vectors) for index in range(4)])
    other, coefficients = torch.arange(50.0, dtype=torch.float64), torch.tensor([1.0, -2.0, 0.5, 3.0]).double()
    torch.testing.assert_close(basis.dots(other), stored @ other, rtol=1e-14, atol=1e-12)
    expected = other - coefficients @ stored
    basis.subtract(coefficients, other)
    torch.testing.assert_close(other, expected, rtol=1e-14, atol=1e-13)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("storage", ROUNDING)
def test_rotation_replaces_the_first_vectors_and_keeps_those_behind(storage: torch.dtype) -> None:
    vectors = orthonormal(50, 5)
    basis = filled(vectors, storage)
    mixing = orthonormal(4, 2, seed=1).T
    behind = basis.vector(4, vectors)
    basis.rotate(mixing)
    assert basis.count == 3
    for index, expected in enumerate(mixing.T @ vectors[:4]):
        assert (basis.vector(index, vectors) - expected).norm() <= 3 * ROUNDING[storage]
    assert torch.equal(basis.vector(2, vectors), behind)


def test_dots_are_summed_in_float64() -> None:
    ones = torch.ones(2**20)
    basis = Basis(1, 2**20)
    basis.append(ones * 0.1)
    exact = 2**20 * torch.tensor(0.1).double()
    assert abs(basis.dots(ones).item() - exact) <= 1e-12 * exact


def test_the_budget_bounds_the_memory() -> None:
    basis = Basis.within(1e-6, 2, 1000, 100, torch.float16)
    assert len(basis.rows) == 5
    assert len(Basis.within(1.0, 2, 10, 100).rows) == 10


def test_a_budget_too_small_names_what_is_needed() -> None:
    with pytest.raises(ValueError, match=r"1e-06 GB hold 2 vectors of 100 .* 3 are needed; allow 1.2e-06 GB"):
        Basis.within(1e-6, 3, 10, 100)


def test_other_storage_is_refused() -> None:
    with pytest.raises(ValueError, match=r"storage torch\.bfloat16 is not supported"):
        Basis(1, 1, torch.bfloat16)
