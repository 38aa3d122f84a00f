"""The JAX side of the theory computes in float64 and says so where that is switched off."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float64


def as_float64(name: str, value: ArrayLike) -> Float64[Array, "..."]:
    """The value as a float64 array; traced values pass through.

    Args:
        name: what the value is called in the error.
        value: real numbers of any shape.

    Raises:
        ValueError: if float64 is switched off in JAX. It is never switched on here, because that is global.

    >>> as_float64("weights", [0.5, 0.5]).dtype
    dtype('float64')
    """
    if jnp.result_type(float) != jnp.float64:
        raise ValueError(
            f"{name} must be float64, which JAX has switched off; call jax.config.update('jax_enable_x64', True) first"
        )
    return jnp.asarray(value, dtype=jnp.float64)


def is_concrete(value: Array) -> bool:
    """Whether the numbers can be looked at: false for traced values, whose checks are passed over.

    Look with NumPy: JAX traces what it computes inside a transformation, from concrete arrays too.
    """
    return not isinstance(value, jax.core.Tracer)


def check_finite(name: str, value: Array) -> None:
    """Refuse a concrete array with an entry that is not finite.

    Raises:
        ValueError: naming the first such entry.
    """
    if is_concrete(value) and not np.isfinite(np.asarray(value)).all():
        where = tuple(np.argwhere(~np.isfinite(np.asarray(value)))[0].tolist())
        raise ValueError(f"{name} has a non-finite entry at {where}")


def check_unit_sum(name: str, weights: Array) -> None:
    """Refuse concrete weights that do not sum to one along their last axis.

    Raises:
        ValueError: naming the first sum that is off.
    """
    check_finite(name, weights)
    if not is_concrete(weights):
        return
    rows = np.asarray(weights).reshape(-1, weights.shape[-1])
    sums = rows.sum(axis=1)
    off = np.abs(sums - 1) > 1e-9 * np.maximum(1.0, np.abs(rows).sum(axis=1))
    if off.any():
        raise ValueError(f"{name} sum to {sums[np.argmax(off)]:.9g}; expected sum 1")
