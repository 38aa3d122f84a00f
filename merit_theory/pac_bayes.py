r"""PAC-Bayes bounds for a model known up to Gaussian noise, and what a shorter displacement can buy in them (F.5).

Prior N(θ⁰, σ²I), posterior N(θ, σ²I), a loss in [0, 1] and n independent examples: with probability 1-p over them

$$\mathbb E_Q L \le \mathbb E_Q \hat L + \sqrt{\frac{\mathrm{KL} + \ln(2\sqrt n/p)}{2n}}, \qquad
    \mathrm{KL} = \frac{\lVert\theta-\theta^0\rVert^2}{2\sigma^2}$$

(McAllester's bound with Maurer's constant). It speaks of the noisy predictor, and its first term is that predictor's
training loss. Merging shortens the displacement and raises the training loss, so "smaller, all else equal" compares
models that do not exist; `break_even_noise` says where the exchange pays, `complexity` what the bound is worth there.
"""

import math

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from merit_theory.precision import as_float64, is_concrete

LEAST_EXAMPLES = 8
"""Maurer's constant holds from here on."""


def gaussian_kl(distance: ArrayLike, noise: ArrayLike) -> Float[Array, "..."]:
    """KL between two Gaussians of covariance σ²I whose means are ``distance`` apart, in nats.

    Args:
        distance: float [...], ‖θ-θ⁰‖ ≥ 0.
        noise: σ > 0.

    >>> gaussian_kl(3.0, 0.5).item()
    18.0
    """
    length, sigma = as_float64("distance", distance), as_float64("noise", noise)
    _refuse_unless("distance must be zero or more", length >= 0)
    _refuse_unless("noise must be a positive standard deviation", sigma > 0)
    return length**2 / (2 * sigma**2)


def complexity(distance: ArrayLike, noise: ArrayLike, examples: int, failure: float = 0.05) -> Float[Array, "..."]:
    """The second term of the bound, √((KL + ln(2√n/p))/(2n)); from one on, the bound says nothing.

    Args:
        distance: float [...], ‖θ-θ⁰‖.
        noise: σ > 0.
        examples: n ≥ 8, independent.
        failure: probability p that the bound does not hold.

    >>> round(complexity(0.0, 1.0, 100, 0.05).item(), 4)
    0.1731
    """
    return jnp.sqrt((gaussian_kl(distance, noise) + _confidence(examples, failure)) / (2 * examples))


def loss_bound(
    training_loss: ArrayLike, distance: ArrayLike, noise: ArrayLike, examples: int, failure: float = 0.05
) -> Float[Array, "..."]:
    """Upper bound on the expected loss of the noisy predictor.

    Args:
        training_loss: float [...] in [0, 1], of the noisy predictor.
        distance: float [...], ‖θ-θ⁰‖.
        noise: σ > 0.
        examples: n ≥ 8, independent.
        failure: probability p that the bound does not hold.
    """
    loss = as_float64("training loss", training_loss)
    _refuse_unless("the bound needs a training loss in [0, 1]; scale or clip it", (loss >= 0) & (loss <= 1))
    return loss + complexity(distance, noise, examples, failure)


def break_even_noise(
    near: ArrayLike, far: ArrayLike, loss_gap: ArrayLike, examples: int, failure: float = 0.05
) -> Float[Array, "..."]:
    r"""The noise below which a shorter displacement makes up for a higher training loss.

    With u = 1/σ², a = d²/(4n) and b = ln(2√n/p)/(2n), the complexities differ by √(a_far·u + b) - √(a_near·u + b). That
    grows with u from nothing without bound, so there is one crossing with the gap g:

    $$u = \frac{g^2}{\Delta^2}\Bigl(a_{near} + a_{far} + 2\sqrt{a_{near}a_{far} + b\Delta^2/g^2}\Bigr), \qquad
        \Delta = a_{far} - a_{near}$$

    Args:
        near: float [...], displacement of the model with the higher training loss.
        far: float [...], displacement of the other, larger than ``near``.
        loss_gap: float [...], positive, how much higher the training loss is.
        examples: n ≥ 8, independent.
        failure: probability p that the bounds do not hold.

    Returns:
        σ at which both models have the same bound; the near one has the lower bound below it.
    """
    short, long, gap = as_float64("near", near), as_float64("far", far), as_float64("loss gap", loss_gap)
    _refuse_unless("distances must satisfy 0 ≤ near < far", (short >= 0) & (short < long))
    _refuse_unless("the loss gap must be positive; without one the shorter displacement always wins", gap > 0)
    least, most = short**2 / (4 * examples), long**2 / (4 * examples)
    offset = _confidence(examples, failure) / (2 * examples) * ((most - least) / gap) ** 2
    return (most - least) / (gap * jnp.sqrt(least + most + 2 * jnp.sqrt(least * most + offset)))


def _confidence(examples: int, failure: float) -> float:
    """ln(2√n/p)."""
    if examples < LEAST_EXAMPLES:
        raise ValueError(f"{examples} examples; the bound holds for at least {LEAST_EXAMPLES}")
    if not 0 < failure < 1:
        raise ValueError(f"failure is {failure}; expected a probability strictly between 0 and 1")
    return math.log(2 * math.sqrt(examples) / failure)


def _refuse_unless(complaint: str, holds: Array) -> None:
    if is_concrete(holds) and not bool(holds.all()):
        raise ValueError(complaint)
