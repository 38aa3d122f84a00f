from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from training.merge.inputs import MergeInputs
from training.merge.model_folder import open_model
from training.merge.order_statistics import kth_smallest, thresholds


def ranked(folder: Path, states: list[dict], rank: int | None = None, density: float = 0.0) -> np.ndarray:
    """The statistic of each state's elements themselves."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(2))
        for number, state in enumerate(states):
            (folder / str(number)).mkdir(exist_ok=True)
            save_file(state, folder / str(number) / "model.safetensors")
        models = tuple(stack.enter_context(open_model(folder / str(number))) for number in range(len(states)))
        inputs = MergeInputs((1.0,) * len(models), models, None, None, pool, stack)
        if rank is None:
            return thresholds(inputs, lambda elements: elements.branches, density)
        return kth_smallest(inputs, lambda elements: elements.branches, rank)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("statistics")


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtypes=st.sampled_from([("f4", "f4"), ("f8", "f8"), ("f4", "f8"), ("f2", "f4")]),
    kind=st.sampled_from(["normal", "all sizes", "few values"]),
    position=st.floats(0, 1),
)
def test_the_kth_smallest_magnitude_is_that_of_a_full_sort(folder, seed, dtypes, kind, position) -> None:
    rng = np.random.default_rng(seed)

    def values(dtype: str) -> np.ndarray:
        drawn = {
            "normal": lambda: rng.normal(size=40),
            "all sizes": lambda: rng.normal(size=40) * 10 ** rng.uniform(-44, 4, 40),
            "few values": lambda: rng.integers(-2, 3, 40) / 1024,
        }[kind]()
        return drawn.astype(dtype)

    states = [{"a": values(dtypes[0]), "b": values(dtypes[1]), "n": np.arange(3)} for _ in range(3)]
    rank = 1 + round(position * 79)
    expected = [np.sort(np.abs(np.concatenate([s["a"].astype("f8"), s["b"].astype("f8")])))[rank - 1] for s in states]
    assert ranked(folder, states, rank).tolist() == expected


def test_chunks_do_not_change_the_statistic(folder, monkeypatch) -> None:
    states = [{"a": np.random.default_rng(seed).normal(size=500).astype("f4")} for seed in range(2)]
    whole = ranked(folder, states, 123)
    monkeypatch.setattr("training.merge.inputs.STACK_BYTES", 4 * 2 * 17)
    assert np.array_equal(ranked(folder, states, 123), whole)
    assert whole.tolist() == [np.sort(np.abs(state["a"]))[122] for state in states]


@pytest.mark.parametrize(("density", "kept"), [(0.2, 3), (0.25, 3), (0.01, 1), (1.0, 10)])
def test_a_threshold_keeps_one_more_than_the_share(folder, density, kept) -> None:
    state = {"a": np.float32([3, -1, 4, -15, 9, 2, -6, 5, 35, 8])}
    (limit,) = ranked(folder, [state], density=density)
    assert np.count_nonzero(np.abs(state["a"]) >= limit) == kept


def test_a_model_without_numbers_to_rank_has_a_threshold_of_zero(folder) -> None:
    assert ranked(folder, [{"n": np.arange(3)}], density=0.5).tolist() == [0.0]
