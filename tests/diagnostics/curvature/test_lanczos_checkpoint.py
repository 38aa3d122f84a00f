"""A Lanczos process that was cut off and continued ends where the undisturbed one does, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diagnostics.curvature.lanczos import largest_eigenpairs
from tests.diagnostics.curvature.dense_operator import DenseOperator, with_spectrum

SPECTRUM = [9.0, 9.0, 8.0, *np.linspace(-3, 3, 97)]


class CutOff(DenseOperator):
    """Breaks down at a given product, as a killed process would."""

    def __init__(self, matrix: Tensor, last: int) -> None:
        super().__init__(matrix)
        self.last = last

    def product(self, vector: Tensor) -> Tensor:
        if self.products == self.last:
            raise InterruptedError
        return super().product(vector)


@pytest.mark.parametrize("storage", [torch.float16, torch.float32])
@pytest.mark.parametrize("last", [4, 9, 16, 21])
def test_a_continued_process_is_the_undisturbed_one(tmp_path: Path, storage: torch.dtype, last: int) -> None:
    operator, _ = with_spectrum(SPECTRUM, dtype=torch.float32)
    budget = 10 * 100 * storage.itemsize / 1e9
    request = {"tolerance": 1e-3, "storage": storage, "budget_gb": budget, "search_copies": True, "max_products": 60}
    undisturbed = largest_eigenpairs(operator, 3, **request)
    assert undisturbed.products > 25
    path = tmp_path / "lanczos.safetensors"
    with pytest.raises(InterruptedError):
        largest_eigenpairs(CutOff(operator.matrix, last), 3, **request, checkpoint=path, checkpoint_every=3)
    rest = DenseOperator(operator.matrix)
    continued = largest_eigenpairs(rest, 3, **request, checkpoint=path, checkpoint_every=3)
    assert rest.products == undisturbed.products - last // 3 * 3
    assert continued.products == undisturbed.products
    assert torch.equal(continued.values, undisturbed.values)
    assert torch.equal(continued.residuals, undisturbed.residuals)
    assert torch.equal(continued.vectors.rows[:3], undisturbed.vectors.rows[:3])
    assert [file.name for file in tmp_path.iterdir()] == ["lanczos.safetensors"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"count": 2}, "count = 3 and 2"),
        ({"seed": 1}, "seed = 0 and 1"),
        ({"by": "magnitude"}, "order = algebraic"),
        ({"storage": torch.float16}, "storage = torch.float32"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, change: dict, complaint: str) -> None:
    operator, _ = with_spectrum(SPECTRUM)
    request = {"count": 3, "checkpoint": tmp_path / "state", "checkpoint_every": 1, "max_products": 8}
    largest_eigenpairs(operator, **request)
    with pytest.raises(ValueError, match=complaint):
        largest_eigenpairs(operator, **(request | change))


def test_the_true_residuals_reveal_a_checkpoint_of_another_operator(tmp_path: Path) -> None:
    one, other = with_spectrum(SPECTRUM, seed=0)[0], with_spectrum(SPECTRUM, seed=1)[0]
    request = {"checkpoint": tmp_path / "state", "checkpoint_every": 1}
    assert largest_eigenpairs(one, 1, **request).converged.all()
    assert not largest_eigenpairs(other, 1, **request).converged.any()
