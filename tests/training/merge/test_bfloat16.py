import numpy as np
import torch

from training.merge.bfloat16 import narrow, widen

EVERY = np.arange(2**16, dtype=np.uint32)


def as_torch(values: np.ndarray) -> np.ndarray:
    return torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy()


def test_rounding_is_that_of_torch_for_every_upper_half() -> None:
    low = np.random.default_rng(0).integers(0, 2**16, 2**16, dtype=np.uint32)
    for lower in (low, 0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        values = ((EVERY << 16) | lower).view(np.float32)
        finite_or_infinite = ~np.isnan(values)
        np.testing.assert_array_equal(narrow(values)[finite_or_infinite], as_torch(values)[finite_or_infinite])


def test_every_nan_stays_nan() -> None:
    for lower in (0, 1, 0x7FFF, 0xFFFF):
        values = ((EVERY << 16) | np.uint32(lower)).view(np.float32)
        back = np.empty_like(values)
        widen(narrow(values), back)
        np.testing.assert_array_equal(np.isnan(back), np.isnan(values))


def test_narrowing_undoes_widening() -> None:
    bits = EVERY.astype(np.uint16)
    values = np.empty(bits.size, np.float32)
    widen(bits, values)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(narrow(values)[number], bits[number])
