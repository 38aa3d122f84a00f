import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import Parameter

from diagnostics.curvature.gauss_newton import GaussNewtonOperator
from diagnostics.curvature.hessian import HessianOperator
from diagnostics.curvature.loss_terms import LossTerm
from training.model.loss import OBJECTIVES

seeds = st.integers(0, 2**32 - 1)
objectives = st.sampled_from(sorted(OBJECTIVES))


def network(seed: int, objective: str, *, linear: bool) -> tuple[dict[str, Parameter], list[LossTerm]]:
    """Two micro-batches, of two and of five tokens; 3 inputs, 4 outputs and, unless linear, 2 hidden units."""
    rng = np.random.default_rng(seed)
    inputs, targets = torch.tensor(rng.standard_normal((7, 3))), torch.tensor(rng.integers(0, 4, 7))
    shapes = {"only": (3, 4)} if linear else {"first": (3, 2), "second": (2, 4)}
    parameters = {name: Parameter(torch.tensor(rng.standard_normal(shape))) for name, shape in shapes.items()}

    def outputs(rows: slice) -> Tensor:
        if linear:
            return inputs[rows] @ parameters["only"]
        return (inputs[rows] @ parameters["first"]).tanh() @ parameters["second"]

    terms = [
        LossTerm(
            outputs=lambda rows=rows: outputs(rows),
            losses=lambda logits, rows=rows: OBJECTIVES[objective](logits, targets[rows]),
            tokens=rows.stop - rows.start,
        )
        for rows in (slice(0, 2), slice(2, 7))
    ]
    return parameters, terms


def dense(operator: GaussNewtonOperator | HessianOperator) -> Tensor:
    return torch.stack([operator.product(unit) for unit in torch.eye(operator.dimension, dtype=operator.dtype)])


@given(seeds, objectives, st.sampled_from([0, 10**9]))
@settings(max_examples=20)
def test_it_is_the_hessian_of_a_linear_model(seed: int, objective: str, budget: int) -> None:
    parameters, terms = network(seed, objective, linear=True)
    hessian = dense(HessianOperator(parameters, terms, graph_bytes=0))
    assert torch.allclose(dense(GaussNewtonOperator(parameters, terms, graph_bytes=budget)), hessian, atol=1e-12)


@given(seeds, objectives)
@settings(max_examples=20)
def test_it_is_symmetric_and_positive_semidefinite_where_the_hessian_is_not(seed: int, objective: str) -> None:
    parameters, terms = network(seed, objective, linear=False)
    matrix = dense(GaussNewtonOperator(parameters, terms, graph_bytes=10**9))
    assert torch.allclose(matrix, matrix.T, atol=1e-12)
    assert torch.linalg.eigvalsh(matrix).min() > -1e-12 * matrix.abs().max()
    assert torch.linalg.eigvalsh(dense(HessianOperator(parameters, terms, graph_bytes=0))).min() < -1e-6


@given(seeds)
@settings(max_examples=20)
def test_with_the_cross_entropy_it_is_the_fisher_matrix(seed: int) -> None:
    """The expectation, over tokens drawn from the model itself, of the outer product of the loss's gradient."""
    parameters, terms = network(seed, "cross-entropy", linear=False)
    fisher = torch.zeros(14, 14, dtype=torch.float64)
    for term in terms:
        logarithms = term.outputs().log_softmax(1)
        for entry in logarithms.reshape(-1):
            gradients = torch.autograd.grad(entry, tuple(parameters.values()), retain_graph=True)
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            fisher += entry.detach().exp() * torch.outer(flat, flat) / 7
    assert torch.allclose(dense(GaussNewtonOperator(parameters, terms, graph_bytes=0)), fisher, atol=1e-12)


def test_a_parameter_that_the_outputs_ignore_has_no_curvature() -> None:
    parameters, terms = network(0, "cross-entropy", linear=True)
    idle = {**parameters, "idle": Parameter(torch.ones(2, dtype=torch.float64))}
    matrix = dense(GaussNewtonOperator(idle, terms, graph_bytes=0))
    assert matrix[12:].abs().max() == 0
    assert torch.equal(matrix[:12, :12], dense(GaussNewtonOperator(parameters, terms, graph_bytes=0)))


def test_changed_parameters_are_refused() -> None:
    parameters, terms = network(0, "cross-entropy", linear=True)
    operator = GaussNewtonOperator(parameters, terms, graph_bytes=10**9)
    with torch.no_grad():
        parameters["only"].zero_()
    with pytest.raises(ValueError, match="make a new one"):
        operator.product(torch.ones(12, dtype=torch.float64))
