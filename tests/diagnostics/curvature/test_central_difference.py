from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from diagnostics.curvature.central_difference import DifferenceOperator
from diagnostics.curvature.hessian import HessianOperator
from diagnostics.curvature.loss_terms import LossTerm, answer_loss_terms
from diagnostics.curvature.reductions import norm
from training.errors import InputError
from training.model.batching import Example, micro_batches
from training.model.embedded import write_tiny_llama
from training.model.load import choose_trainable, load_model

EXAMPLES = [Example((1, 2, 3, 9, 8, 7), (False,) * 3 + (True,) * 3, 3), Example((5, 6, 4), (False, False, True), 2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("tiny-llama")
    write_tiny_llama(target)
    return target


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("pattern", ["*", "*norm*"])
def test_the_error_bar_covers_the_error_and_is_not_idle(folder: Path, precision: str, pattern: str) -> None:
    model = load_model(folder, precision, torch.device("cpu"))
    parameters = choose_trainable(model, [pattern])
    terms = answer_loss_terms(model, micro_batches(EXAMPLES, 1000), "cross-entropy")
    exact = HessianOperator(parameters, terms, graph_bytes=10**9)
    difference = DifferenceOperator(parameters, terms, tolerance=3e-3)
    rng = np.random.default_rng(0)
    dense = torch.tensor(rng.standard_normal(exact.dimension)).to(exact.dtype)
    for vector in (dense, torch.eye(1, exact.dimension, dtype=exact.dtype)[0] * 1e3):
        truth = exact.product(vector)
        found = difference.difference(vector)
        assert norm(found.product - truth) <= found.error
        assert found.relative_error <= 3e-3
    assert torch.equal(exact.product(dense), exact.product(dense)), "the kept graph is still valid"


def cubic(scale: float) -> tuple[Parameter, DifferenceOperator]:
    """Loss x² + scale·x⁴ of one entry, which no first step gets right."""
    weight = Parameter(torch.tensor([1.0]))
    term = LossTerm(lambda: weight, lambda outputs: outputs**2 + scale * outputs**4, 1)
    return weight, DifferenceOperator({"weight": weight}, [term], tolerance=0.0)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_the_step_is_short_where_the_curvature_changes_and_long_where_it_does_not(scale: float) -> None:
    _, operator = cubic(scale)
    found = operator.difference(torch.tensor([2.0]))
    truth = 2 * (2 + 12 * scale)
    assert abs(found.product.item() - truth) <= found.error
    assert found.relative_error < 5e-3


def test_steps_differ_between_directions() -> None:
    weight = Parameter(torch.ones(2))
    term = LossTerm(lambda: weight, lambda outputs: torch.stack([(50 * outputs[0]).sin(), outputs[1] ** 4]), 2)
    operator = DifferenceOperator({"weight": weight}, [term], tolerance=0.0)
    wild, tame = (operator.difference(unit).step for unit in torch.eye(2))
    assert wild * 4 <= tame


def test_parameters_come_back_to_the_bit_also_after_a_failure() -> None:
    weight = Parameter(torch.tensor([0.1, 1e-8, 3e7]))
    before = weight.detach().clone()
    term = LossTerm(lambda: weight, lambda outputs: outputs.sin(), 3)
    operator = DifferenceOperator({"weight": weight}, [term])
    operator.product(torch.ones(3))
    assert torch.equal(weight, before)
    assert len(operator.relative_errors) == 1

    def fails(outputs: torch.Tensor) -> torch.Tensor:
        if not torch.equal(outputs, before):
            raise RuntimeError("out of memory")
        return outputs.square()

    failing = DifferenceOperator({"weight": weight}, [LossTerm(lambda: weight, fails, 3)])
    with pytest.raises(RuntimeError, match="out of memory"):
        failing.product(torch.ones(3))
    assert torch.equal(weight, before)


def test_the_zero_vector_and_a_loss_without_gradients_are_told_apart() -> None:
    _, operator = cubic(1.0)
    nothing = operator.difference(torch.zeros(1))
    assert (nothing.product.item(), nothing.relative_error) == (0.0, 0.0)
    weight = Parameter(torch.zeros(1))
    edge = DifferenceOperator({"weight": weight}, [LossTerm(lambda: weight, torch.sqrt, 1)])
    with pytest.raises(InputError, match="not finite"):
        edge.product(torch.ones(1))
