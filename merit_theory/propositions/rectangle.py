"""The paper's example of four tasks with optima on the corners of a rectangle, F.6 to F.9."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from merit_theory.propositions.proposition import Batch, Ensemble, Numbers
from merit_theory.spectral_filter import filtered_task_matrix
from merit_theory.split_gain import split_gain

CORNERS = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
SPLITS = np.array([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0], [1.0, -1.0, -1.0, 1.0]])
"""S₁ along the first coordinate, S₂ along the second, S₃ along neither."""


class Rectangle(NamedTuple):
    """Optima at (±α, ±β) under the Hessian diag(h₁, h₂), started at their mean.

    Attributes:
        curvatures: float64 [2], h.
        sides: float64 [2], α and β.
        learning_rate: float64, η.
        steps: float64, τ, a whole number.
    """

    curvatures: Float[Numbers, " 2"]
    sides: Float[Numbers, " 2"]
    learning_rate: Float[Numbers, ""]
    steps: Float[Numbers, ""]

    @property
    def optima(self) -> Float[Array, "4 2"]:
        """The corners."""
        return jnp.asarray(CORNERS) * self.sides[None, :]

    def gains(self) -> Float[Array, " 3"]:
        """Gain of each split after τ steps, exact."""
        matrix = filtered_task_matrix(self.curvatures, self.optima, self.learning_rate, self.steps)
        return jnp.stack([split_gain(matrix, jnp.asarray(signs), 1.0) for signs in SPLITS])

    def scale(self) -> Float[Array, ""]:
        """Size of the branch losses that gains are differences of, at one step."""
        return (self.learning_rate**2 * self.curvatures**3 * self.sides**2).sum() + self.gains().max()


def rectangle(
    h: tuple[float, float], sides: tuple[float, float], learning_rate: float = 1.0, steps: int = 1
) -> Rectangle:
    """A rectangle from plain numbers."""
    return Rectangle(np.array(h), np.array(sides), np.array(learning_rate), np.array(float(steps)))


def one_step(rectangle: Rectangle) -> Array:
    """Whether branches make a single step."""
    return rectangle.steps == 1


def sharp_first(rectangle: Rectangle) -> Array:
    """Whether h₁ ≥ h₂."""
    return rectangle.curvatures[0] >= rectangle.curvatures[1]


def _draw(rng: np.random.Generator, n: int) -> Batch:
    return {"excess": rng.normal(-1.0, 2.0, (n, 2)), "logs": rng.standard_normal((n, 3))}


def _build(drawn: Batch) -> Rectangle:
    """h₁ above h₂ and h₁α above h₂β, both by factors anywhere above one."""
    flat, second, rate = jnp.exp(drawn["logs"])
    sharp = flat * (1 + jnp.exp(drawn["excess"][0]))
    first = flat * second / sharp * (1 + jnp.exp(drawn["excess"][1]))
    curvatures = jnp.stack([sharp, flat])
    return Rectangle(curvatures, jnp.stack([first, second]), rate / sharp, jnp.ones(()))


RECTANGLES = Ensemble(_draw, _build)
"""One step, the sharp direction first, and its gradients larger."""
