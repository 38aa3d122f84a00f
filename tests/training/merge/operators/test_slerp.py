import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import InputError


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), weight=st.floats(0, 1), dtype=st.sampled_from(["float32", "float64"]))
def test_the_merge_lies_on_the_great_circle_at_the_share_of_the_angle(merge, seed, weight, dtype) -> None:
    rng = np.random.default_rng(seed)
    first, second = (rng.normal(size=(6, 4)).astype(dtype) for _ in range(2))
    second *= np.linalg.norm(first) / np.linalg.norm(second)
    merged = merge("slerp", [{"w": first}, {"w": second}], weights=(1 - weight, weight))["w"]

    def angle(a: np.ndarray, b: np.ndarray) -> float:
        return 2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b))  # of equal norm

    tolerance = 1e-6 if dtype == "float32" else 1e-13
    assert np.linalg.norm(merged) == pytest.approx(np.linalg.norm(first), rel=tolerance)
    assert angle(first, merged) == pytest.approx(weight * angle(first, second), abs=10 * tolerance)
    assert angle(merged, second) == pytest.approx((1 - weight) * angle(first, second), abs=10 * tolerance)


def test_nearly_parallel_opposite_and_zero_tensors_are_averaged(merge) -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=50).astype(np.float32)
    first = {"near": w, "opposite": w, "zero": np.zeros_like(w)}
    second = {"near": w + np.float32(0.01) * w[::-1], "opposite": -w, "zero": w}
    averaged = merge("linear", [first, second], weights=(0.25, 0.75))
    for name, value in merge("slerp", [first, second], weights=(0.25, 0.75)).items():
        np.testing.assert_array_equal(value, averaged[name])


@pytest.mark.parametrize("count", [1, 3])
def test_any_other_number_of_branches_than_two_is_refused(merge, count) -> None:
    with pytest.raises(InputError, match=f"given {count} branches; give it two"):
        merge("slerp", [{"w": np.full(3, float(k))} for k in range(count)])
