"""Instances are checked when a person builds them, and not when JAX takes them apart and puts them together."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from merit_theory.hessian import DenseHessian
from merit_theory.linear_quadratic import LinearQuadraticModel


def test_a_gradient_with_respect_to_an_instance_need_not_be_a_valid_instance() -> None:
    left, right = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    slope = jax.grad(lambda hessian: left @ hessian.product(right))(DenseHessian(jnp.eye(2)))
    assert slope.matrix.tolist() == [[0.0, 1.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match="not symmetric"):
        DenseHessian(slope.matrix)


def test_models_stack_and_vectorise() -> None:
    models = [LinearQuadraticModel(jnp.eye(2) * scale, jnp.ones((3, 2))) for scale in (1.0, 2.0)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
    losses = jax.jit(jax.vmap(lambda model: model.loss(jnp.zeros(2))))(stacked)
    assert losses.tolist() == [1.0, 2.0]


def test_instances_are_frozen() -> None:
    hessian = DenseHessian(jnp.eye(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        hessian.matrix = jnp.zeros((2, 2))
