import math
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.conflicts.sketch import SignedSketch, Stride, fold

CPU = torch.device("cpu")
seeds = st.integers(0, 2**32 - 1)
PERIOD = 2**12
SHAPES = {"embed.weight": (37, 16), "layer.0.norm.weight": (16,), "layer.0.w": (3, 5, 7), "bias": (1,)}


@pytest.fixture(scope="module", autouse=True)
def few_signs() -> Iterator[None]:
    """A shorter period of signs, which are drawn anew for every sketch."""
    with mock.patch("training.conflicts.sketch.SIGN_PERIOD", PERIOD):
        yield


def sketch(size: int, seed: int, dtype: torch.dtype = torch.float64) -> SignedSketch:
    return SignedSketch(size, seed, CPU, dtype)


def tensors(seed: int) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    return {name: torch.tensor(rng.standard_normal(shape)) for name, shape in SHAPES.items()}


def flat(values: dict[str, Tensor]) -> np.ndarray:
    return np.concatenate([tensor.numpy().ravel() for tensor in values.values()])


def matrix(size: int, seed: int, lengths: dict[str, int]) -> np.ndarray:
    """The sketch as the matrix [size, entries] that it is, from the sketches of unit vectors."""
    made = sketch(size, seed)
    columns = [
        made.of({name: torch.nn.functional.one_hot(torch.tensor(entry), length).double()})
        for name, length in lengths.items()
        for entry in range(length)
    ]
    return torch.stack(columns, dim=1).numpy()


sizes = st.sampled_from([16, 100, 1024])


@settings(max_examples=50)
@given(sizes, seeds, st.floats(-3, 3))
def test_a_sketch_is_linear(size: int, seed: int, factor: float) -> None:
    one, other = tensors(seed), tensors(seed + 1)
    combined = {name: one[name] + factor * other[name] for name in one}
    made = sketch(size, seed)
    torch.testing.assert_close(made.of(combined), made.of(one) + factor * made.of(other), rtol=0, atol=1e-11)


@settings(max_examples=50)
@given(sizes, seeds, st.permutations(list(SHAPES)))
def test_a_sketch_does_not_depend_on_the_order_of_arrival_or_on_who_computes_it(
    size: int, seed: int, order: list[str]
) -> None:
    values = tensors(seed)
    shuffled = sketch(size, seed).of({name: values[name] for name in order})
    torch.testing.assert_close(sketch(size, seed).of(values), shuffled, rtol=0, atol=1e-12)
    mine = sketch(size, seed)
    accumulator = mine.zeros()
    for name in order:
        mine.add(accumulator, name, values[name])
        mine.add(accumulator, name, 2 * values[name])
    torch.testing.assert_close(mine.finish(accumulator), 3 * shuffled, rtol=0, atol=1e-11)


@settings(max_examples=20)
@given(st.sampled_from([16, 33]), seeds)
def test_every_entry_goes_to_one_bucket_with_one_sign_and_entries_of_a_block_never_collide(
    size: int, seed: int
) -> None:
    columns = matrix(size, seed, {"w": 3 * size + 5})
    np.testing.assert_array_equal(np.sort(np.abs(columns), axis=0)[:-1], 0)
    np.testing.assert_array_equal(np.abs(columns).max(axis=0), 1)
    buckets = np.abs(columns).argmax(axis=0)
    for first in range(0, len(buckets), size):
        block = buckets[first : first + size]
        assert len(set(block)) == len(block)


@settings(max_examples=50)
@given(sizes, seeds, st.booleans())
def test_a_tensor_that_fits_in_the_sketch_keeps_its_norm_exactly_and_one_that_does_not_does_not(
    size: int, seed: int, full: bool
) -> None:
    rng = np.random.default_rng(seed)
    values = torch.tensor(rng.standard_normal(size if full else size // 2 + 1))
    made = sketch(size, seed).of({"w": values})
    np.testing.assert_array_equal(np.sort(made.abs())[-len(values) :], np.sort(values.abs()))
    longer = torch.tensor(rng.standard_normal(3 * size))
    assert abs(sketch(size, seed).of({"w": longer}).norm() / longer.norm() - 1) > 1e-9


def test_the_signs_wrap_around_so_that_a_sketch_may_be_larger_than_their_period() -> None:
    size = 3 * PERIOD + 5
    values = torch.ones(size)
    made = sketch(size, 0, torch.float32).of({"w": values})
    assert made.shape == (size,)
    assert made.abs().min() == made.abs().max() == 1
    assert abs(made.sum().item()) < 6 * math.sqrt(size)


def test_names_blocks_and_seeds_have_places_of_their_own() -> None:
    values = torch.arange(1.0, 65.0, dtype=torch.float64)
    alone = sketch(64, 0).of({"a": values})
    assert not torch.equal(alone, sketch(64, 0).of({"b": values}))
    assert not torch.equal(alone, sketch(64, 1).of({"a": values}))
    halves = matrix(16, 0, {"a": 32})
    assert not np.array_equal(halves[:, :16], halves[:, 16:])


def pair_of_tensors() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two correlated vectors of a mean that is not zero: without signs, colliding entries would add up."""
    one = {name: 0.5 + tensor for name, tensor in tensors(1).items()}
    return one, {name: 0.5 * one[name] + tensor for name, tensor in tensors(2).items()}


def inner_product_errors(size: int, draws: int, one: dict[str, Tensor], other: dict[str, Tensor]) -> np.ndarray:
    exact = float(flat(one) @ flat(other))
    pairs = ((made.of(one), made.of(other)) for made in (sketch(size, seed) for seed in range(draws)))
    return np.array([(a @ b).item() - exact for a, b in pairs])


@pytest.fixture(scope="module")
def errors_by_size() -> dict[int, np.ndarray]:
    one, other = pair_of_tensors()
    return {size: inner_product_errors(size, 100, one, other) for size in (16, 64, 256)}


def test_inner_products_are_unbiased_over_seeds(errors_by_size: dict[int, np.ndarray]) -> None:
    for errors in errors_by_size.values():
        standard_error = errors.std(ddof=1) / math.sqrt(len(errors))
        assert abs(errors.mean()) < 4 * standard_error


def predicted_error(size: int, one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Root mean square error over seeds: entries of different blocks add x²y² + xyxy with probability 1/size."""
    blocks = [
        (x[first : first + size], y[first : first + size])
        for x, y in ((one[name].reshape(-1), other[name].reshape(-1)) for name in one)
        for first in range(0, len(x), size)
    ]
    squares_x, squares_y, products = (
        np.array([(x @ x).item() for x, _ in blocks]),
        np.array([(y @ y).item() for _, y in blocks]),
        np.array([(x @ y).item() for x, y in blocks]),
    )
    pairs = np.outer(squares_x, squares_y) + np.outer(products, products)
    return math.sqrt((pairs.sum() - np.trace(pairs)) / size)


def test_the_error_falls_like_one_over_the_root_of_the_size(errors_by_size: dict[int, np.ndarray]) -> None:
    one, other = pair_of_tensors()
    for size, errors in errors_by_size.items():
        assert np.sqrt((errors**2).mean()) == pytest.approx(predicted_error(size, one, other), rel=0.25)
    assert np.sqrt((errors_by_size[16] ** 2).mean() / (errors_by_size[64] ** 2).mean()) == pytest.approx(2, rel=0.35)
    assert predicted_error(256, one, other) < 0.9 * predicted_error(16, one, other) / 4, "blocks should help"


def test_heavy_tails_keep_their_cosine_in_a_sketch_and_lose_it_in_a_subsample_of_the_same_size() -> None:
    rng = np.random.default_rng(0)
    length, stride = 50_000, 5
    sketch_errors, stride_errors = [], []
    for seed in range(20):
        shared = np.zeros(length)
        shared[rng.choice(length, 8, replace=False)] = 100 * rng.standard_normal(8)
        one, other = (torch.tensor(shared + rng.standard_normal(length)) for _ in range(2))
        exact = torch.cosine_similarity(one, other, dim=0)
        signed, kept = sketch(length // stride, seed), Stride({"w": length}, stride)
        both = [torch.cosine_similarity(signed.of({"w": one}), signed.of({"w": other}), dim=0)]
        places = [kept.zeros(), kept.zeros()]
        for place, values in zip(places, (one, other), strict=True):
            kept.add(place, "w", values)
        both.append(torch.cosine_similarity(*map(kept.finish, places), dim=0))
        sketch_errors.append(both[0] - exact)
        stride_errors.append(both[1] - exact)
    assert np.square(sketch_errors).mean() ** 0.5 < 0.03
    assert np.square(stride_errors).mean() ** 0.5 > 0.2


@settings(max_examples=50)
@given(st.sampled_from([torch.float32, torch.bfloat16]), seeds)
def test_a_sketch_sums_in_its_own_dtype_whatever_it_is_given(dtype: torch.dtype, seed: int) -> None:
    values = {name: tensor.to(dtype) for name, tensor in tensors(seed).items()}
    wide = {name: tensor.double() for name, tensor in values.items()}
    torch.testing.assert_close(sketch(64, seed).of(values), sketch(64, seed).of(wide), rtol=0, atol=0)


# --- fold ---------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(seeds, st.sampled_from([(64, 16), (100, 33), (16, 16), (16, 40)]), st.sampled_from([(), (3,), (2, 3)]))
def test_folding_is_linear_row_by_row_and_puts_as_many_entries_in_every_bucket(
    seed: int, widths: tuple[int, int], leading: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(seed)
    wide, narrow = widths
    rows = rng.standard_normal((*leading, wide)).astype(np.float32)
    units = fold(np.eye(wide, dtype=np.float32), narrow, seed)
    assert set(np.abs(units).sum(axis=0)) <= {math.floor(wide / narrow), math.ceil(wide / narrow)}
    np.testing.assert_array_equal(np.abs(units).sum(axis=1), 1)
    folded = fold(rows, narrow, seed)
    assert folded.shape == (*leading, narrow)
    assert folded.dtype == np.float32
    np.testing.assert_allclose(folded, rows @ units, rtol=0, atol=1e-5)


def test_folding_keeps_inner_products_in_expectation() -> None:
    rng = np.random.default_rng(0)
    one = (1 + rng.standard_normal(256)).astype(np.float32)  # without signs, the means would add up
    other = (1 + one + rng.standard_normal(256)).astype(np.float32)
    errors = np.array([np.dot(*fold(np.stack([one, other]), 32, seed)) - one @ other for seed in range(300)])
    assert abs(errors.mean()) < 4 * errors.std(ddof=1) / math.sqrt(len(errors))
    assert errors.std() < 2 * np.linalg.norm(one) * np.linalg.norm(other) / math.sqrt(32)


# --- stride -------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from([(1,), (4, 3), (7,), (2, 5, 3)]), min_size=1, max_size=6),
    st.integers(1, 30),
    seeds,
    st.randoms(use_true_random=False),
)
def test_a_stride_is_a_slice_of_all_tensors_in_one_vector(shapes: list, stride: int, seed: int, random) -> None:
    rng = np.random.default_rng(seed)
    values = {f"p{number}": torch.tensor(rng.standard_normal(shape)) for number, shape in enumerate(shapes)}
    kept = Stride({name: tensor.numel() for name, tensor in values.items()}, stride)
    accumulator = kept.zeros()
    for name in random.sample(list(values), len(values)):
        kept.add(accumulator, name, values[name].float())
        kept.add(accumulator, name, values[name].float())
    expected = 2 * flat(values).astype(np.float32)[::stride]
    assert kept.size == len(expected)
    np.testing.assert_array_equal(kept.finish(accumulator), expected)
