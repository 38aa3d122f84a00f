import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.branch_specs import make_spec
from training.branches.data_order import rows_of_share, step_indices
from training.branches.spec import Share
from training.config import BranchSettings

# batch, examples seen, examples of each task, seed
orders = st.tuples(
    st.integers(1, 12), st.integers(1, 60), st.lists(st.integers(1, 15), min_size=1, max_size=4), st.integers(0, 2**62)
)
Order = tuple[int, int, list[int], int]
stratified = st.booleans()


def stream(batch: int, seen: int, rows: list[int], seed: int, stratified: bool = False) -> list[list[int]]:
    """The steps of a branch over one task of each size, each a stratum of its own or all shuffled alike."""
    tasks = {f"t{number}": "hash" for number in range(len(rows))}
    strata = tuple((name,) for name in tasks) if stratified else ()
    spec = make_spec(tasks=tasks, seed=seed, examples=seen, strata=strata, settings=BranchSettings(batch_size=batch))
    return [step_indices(spec, step, rows) for step in range(spec.steps)]


@settings(max_examples=40)
@given(orders, stratified)
def test_steps_tile_a_stream_of_permutations_without_a_gap(order: Order, stratified: bool) -> None:
    batch, seen, rows, _ = order
    steps = stream(*order, stratified)
    assert all(len(step) == batch for step in steps[:-1])
    assert 1 <= len(steps[-1]) <= batch
    flat = [index for step in steps for index in step]
    assert len(flat) == seen
    examples = sum(rows)
    for first in range(0, seen, examples):
        epoch = flat[first : first + examples]
        assert len(set(epoch)) == len(epoch)
        assert set(epoch) <= set(range(examples))
        assert len(epoch) == min(examples, seen - first)


@settings(max_examples=40)
@given(orders, stratified, st.integers(1, 12))
def test_the_stream_does_not_depend_on_how_it_is_cut_into_steps_or_how_long_it_runs(
    order: Order, stratified: bool, other_batch: int
) -> None:
    batch, seen, rows, seed = order
    flat = [index for step in stream(*order, stratified) for index in step]
    assert flat == [index for step in stream(other_batch, seen, rows, seed, stratified) for index in step]
    assert flat == [index for step in stream(batch, seen + 7, rows, seed, stratified) for index in step][:seen]


@pytest.mark.parametrize("stratified", [False, True])
def test_epochs_and_seeds_differ(stratified: bool) -> None:
    flat = [index for step in stream(4, 60, [12, 8], 0, stratified) for index in step]
    epochs = {tuple(flat[first : first + 20]) for first in (0, 20, 40)}
    other = [index for step in stream(4, 60, [12, 8], 1, stratified) for index in step]
    assert len(epochs | {tuple(other[:20])}) == 4
    assert tuple(range(20)) not in epochs


# --- strata -----------------------------------------------------------------------------------------------------------


def counts_in_windows(flat: list[int], rows: list[int], window: int) -> np.ndarray:
    """Examples of each stratum in every stretch of ``window`` examples [n_windows, n_strata]."""
    stratum = np.searchsorted(np.cumsum(rows), flat, side="right")
    sums = np.cumsum(np.vstack([np.zeros(len(rows)), np.eye(len(rows))[stratum]]), axis=0)
    return sums[window:] - sums[:-window]


many_strata = st.lists(st.integers(1, 40), min_size=2, max_size=8)


@settings(max_examples=40)
@given(many_strata, st.integers(1, 40), st.integers(0, 2**62))
def test_every_stretch_of_the_stream_has_the_share_of_each_stratum(rows: list[int], window: int, seed: int) -> None:
    flat = [index for step in stream(5, 3 * sum(rows), rows, seed, True) for index in step]
    share = np.array(rows) / sum(rows)
    excess = np.abs(counts_in_windows(flat, rows, window) - window * share)
    assert (excess < 1 + share * (len(rows) - 2) + 1e-9).all()


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**62))
def test_of_two_strata_every_batch_has_the_share_rounded_up_or_down(
    one: int, other: int, batch: int, seed: int
) -> None:
    flat = [index for step in stream(batch, 2 * (one + other), [one, other], seed, True) for index in step]
    counts = counts_in_windows(flat, [one, other], batch)[:, 0]
    share = batch * one / (one + other)
    assert set(counts.tolist()) <= {np.floor(share), np.ceil(share)}


@settings(max_examples=40)
@given(many_strata, st.integers(1, 6), st.integers(0, 2**62))
def test_a_batch_that_every_stratum_has_a_whole_share_of_has_just_that(
    shares: list[int], batches: int, seed: int
) -> None:
    steps = stream(sum(shares), 2 * batches * sum(shares), [batches * share for share in shares], seed, True)
    edges = batches * np.cumsum([0, *shares])
    for step in steps:
        assert np.histogram(step, edges)[0].tolist() == shares


def test_plain_shuffling_does_not_keep_to_shares() -> None:
    flat = [index for step in stream(5, 120, [20, 20], 0) for index in step]
    assert np.abs(counts_in_windows(flat, [20, 20], 10) - 5).max() > 2


def test_a_stratum_of_several_tasks_shuffles_them_alike() -> None:
    tasks = dict.fromkeys("abc", "hash")
    spec = make_spec(tasks=tasks, examples=24, strata=(("c", "a"), ("b",)), settings=BranchSettings(batch_size=4))
    steps = [step_indices(spec, step, [6, 12, 6]) for step in range(spec.steps)]
    assert all(sum(6 <= index < 18 for index in step) == 2 for step in steps)
    of_a = [sum(index < 6 for index in step) for step in steps]
    assert sum(of_a) == 6
    assert set(of_a) != {1}


# --- shares -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**62))
def test_shares_of_one_seed_partition_the_rows_of_a_task_as_evenly_as_can_be(rows: int, of: int, seed: int) -> None:
    shares = [rows_of_share(make_spec(share=Share(index=index, of=of, seed=seed)), "a", rows) for index in range(of)]
    assert sorted(row for share in shares for row in share) == list(range(rows))
    assert [len(share) for share in shares] == [len(range(index, rows, of)) for index in range(of)]
    assert all(share == sorted(share) for share in shares)


def test_shares_are_drawn_anew_for_every_task_and_seed_and_all_rows_are_seen_without_them() -> None:
    drawn = {
        tuple(rows_of_share(make_spec(share=Share(index=0, of=2, seed=seed)), task, 30))
        for seed in (0, 1)
        for task in "ab"
    }
    assert len(drawn) == 4
    assert tuple(range(0, 30, 2)) not in drawn
    assert rows_of_share(make_spec(), "a", 30) == list(range(30))
