import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.curvature.reductions import CHUNK, dot, norm


@given(st.sampled_from([0, 1, 7, CHUNK, CHUNK + 1, 2 * CHUNK + 3]), st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_reductions_of_float32_vectors_are_those_of_float64(length: int, seed: int) -> None:
    one, other = np.random.default_rng(seed).standard_normal((2, length), dtype=np.float32)
    exact = float(one.astype(np.float64) @ other.astype(np.float64))
    assert dot(torch.from_numpy(one), torch.from_numpy(other)) == pytest.approx(exact, abs=1e-12 * (1 + length))
    size = np.linalg.norm(one.astype(np.float64))
    assert norm(torch.from_numpy(one)) == pytest.approx(size, rel=1e-12, abs=1e-300)


def test_torchs_float32_reductions_of_ten_million_entries_are_wrong_and_these_are_not() -> None:
    vector = torch.full((2 * 10**7,), 0.1)
    truth = float(vector[0]) * vector.numel() ** 0.5
    assert norm(vector) == pytest.approx(truth, rel=1e-12)
    assert dot(vector, vector) == pytest.approx(truth**2, rel=1e-12)
    assert abs(torch.dot(vector, vector).item() / truth**2 - 1) > 1e-4


@pytest.mark.slow
def test_the_unit_vector_of_a_real_model_has_norm_one() -> None:
    vector = torch.randn(10**8, generator=torch.Generator().manual_seed(0)).div_(1e4)
    exact = np.linalg.norm(vector.numpy().astype(np.float64))
    assert norm(vector) == pytest.approx(exact, rel=1e-12)
    assert dot(vector, vector) == pytest.approx(exact**2, rel=1e-12)


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two vectors of one length, not \[3\] and \[1\]"):
        dot(torch.ones(3), torch.ones(1))
    with pytest.raises(ValueError, match="flatten them"):
        norm(torch.ones(2, 2))
