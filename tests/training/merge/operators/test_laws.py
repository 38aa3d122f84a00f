"""What holds for all operators that work element by element or by the angles between tensors."""

import numpy as np
import pytest

from training.merge import folders
from training.merge.registry import OPERATORS

MINE = ("ties", "ties-mergekit", "dare", "dare-ties", "slerp", "model-stock", "ota", "ffg")
WEIGHTS = (0.25, 0.75)


def states(seed: int = 0, size: int = 40) -> tuple[dict, list[dict], list[dict]]:
    """A start, two branches and their moments; every third row moves in no branch, and one tensor in none."""
    rng = np.random.default_rng(seed)
    start = {"w": rng.normal(size=(size, 3)).astype(np.float32), "frozen": rng.normal(size=5).astype(np.float32)}
    branches = []
    for _ in range(2):
        step = (rng.integers(-8, 9, size=(size, 3)) / 64).astype(np.float32)
        step[::3] = 0
        branches.append({"w": start["w"] + step, "frozen": start["frozen"]})
    moments = [{"w": rng.random((size, 3), np.float32)} for _ in range(2)]
    return start, branches, moments


def run(merge, name: str, branches: list[dict], start: dict, moments: list[dict], weights=WEIGHTS, **settings):
    operator = OPERATORS[name]
    return merge(
        name,
        branches,
        start if operator.needs_start else None,
        weights if operator.takes_weights else None,
        moments if operator.needs_second_moments else None,
        **settings,
    )


@pytest.mark.parametrize("name", [name for name in MINE if name != "slerp"])  # which turns whole tensors
def test_what_no_branch_moved_is_the_start_exactly(merge, name) -> None:
    start, branches, moments = states()
    merged = run(merge, name, branches, start, moments)
    np.testing.assert_array_equal(merged["frozen"], start["frozen"])
    np.testing.assert_array_equal(merged["w"][::3], start["w"][::3])
    alone = run(merge, name, [start, start], start, moments)
    np.testing.assert_array_equal(alone["w"], start["w"])


@pytest.mark.parametrize("name", [name for name in MINE if not name.startswith("dare")])
def test_the_order_of_branches_does_not_matter(merge, name) -> None:
    start, branches, moments = states(1)
    one = run(merge, name, branches, start, moments)
    other = run(merge, name, branches[::-1], start, moments[::-1], WEIGHTS[::-1])
    np.testing.assert_allclose(one["w"], other["w"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in MINE if "density" in OPERATORS[name].model_fields])
def test_chunks_and_threads_do_not_change_the_merge(merge, name, monkeypatch) -> None:
    start, branches, moments = states(2, 400)
    whole = run(merge, name, branches, start, moments, density=0.3)
    monkeypatch.setattr("training.merge.inputs.STACK_BYTES", 4 * 5 * 13)
    monkeypatch.setattr(folders, "THREADS", 1)
    chunked = run(merge, name, branches, start, moments, density=0.3)
    assert whole["w"].tobytes() == chunked["w"].tobytes()


@pytest.mark.parametrize("name", MINE)
@pytest.mark.filterwarnings("error")
def test_wild_inputs_give_finite_numbers_or_are_refused(merge, name) -> None:
    start, branches, moments = states(3)
    for state in branches:
        state["w"] = state["w"] * np.float32(1e25)
    moments[0]["w"][:5] = 1e-45
    moments[1]["w"][:5] = 1e10
    assert all(np.isfinite(value).all() for value in run(merge, name, branches, start, moments).values())
