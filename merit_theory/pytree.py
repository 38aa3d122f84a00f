"""Frozen dataclasses that JAX can trace through."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")


@dataclass_transform(frozen_default=True, eq_default=False)
def pytree_dataclass(cls: type[T]) -> type[T]:
    """A frozen dataclass whose fields are children of a JAX pytree.

    Checks in ``__post_init__`` run for whoever calls the constructor. JAX rebuilds instances without them: what it puts
    into the fields can be tracers, axis numbers, or a gradient, which is no valid instance.

    >>> @pytree_dataclass
    ... class Point:
    ...     x: float
    >>> jax.tree.map(lambda leaf: leaf + 1, Point(2.0)).x
    3.0
    """
    frozen = dataclass(frozen=True, eq=False)(cls)
    names = list(cls.__annotations__)

    def flatten(instance: T) -> tuple[list[tuple[Any, Any]], None]:
        return [(jax.tree_util.GetAttrKey(name), getattr(instance, name)) for name in names], None

    def unflatten(_: None, children: Iterable[Any]) -> T:
        instance = object.__new__(frozen)
        for name, child in zip(names, children, strict=True):
            object.__setattr__(instance, name, child)
        return instance

    jax.tree_util.register_pytree_with_keys(frozen, flatten, unflatten)
    return frozen
