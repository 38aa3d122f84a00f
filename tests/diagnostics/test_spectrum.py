"""Which precision vectors are kept in, and what the errors of iterative methods and allocators become."""

import pytest
import torch

from diagnostics.spectrum import Spectrum, memory_told, storage_for, told_as_settings
from tests.diagnostics.curvature.dense_operator import DenseOperator
from training.errors import InputError


def test_vectors_are_kept_as_they_are_where_they_fit_and_halved_where_not() -> None:
    operator = DenseOperator(torch.eye(100, dtype=torch.float32))
    assert storage_for(operator, 10, 4000e-9) == torch.float32
    assert storage_for(operator, 10, 3999e-9) == torch.float16
    assert storage_for(operator, 1000, 40000e-9) == torch.float32, "no more vectors than dimensions"
    assert storage_for(DenseOperator(torch.eye(100, dtype=torch.float64)), 10, 8000e-9) == torch.float64


def test_the_scale_of_a_spectrum_is_its_mean_magnitude() -> None:
    spectrum = Spectrum(
        values=(-3.0, 1.0),
        error_bars=(0.0, 0.0),
        residuals=(0.0, 0.0),
        converged=(True, True),
        clusters=((0,), (1,)),
        products=5,
        storage="float32",
        trace=None,
    )
    assert spectrum.mean_magnitude == 2


def test_refusals_become_input_errors_and_input_errors_stay_as_they_are() -> None:
    with pytest.raises(InputError, match=r"^alignment: 3 products are few$"), told_as_settings():
        raise ValueError("3 products are few")
    with pytest.raises(InputError, match=r"^task 'a' is empty$"), told_as_settings():
        raise InputError("task 'a' is empty")


def test_only_a_lack_of_memory_is_told_as_one() -> None:
    with pytest.raises(InputError, match="memory"), memory_told():
        raise MemoryError
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), memory_told():
        raise RuntimeError("shapes differ")
