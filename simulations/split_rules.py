"""How much of the best possible gain does a split rule find, and does it find more than chance?

Setting: N tasks with one Hessian of spectrum λ_ℓ ∝ ℓ^-decay, gradients from six ensembles, balanced splits into two
groups. To first order the gain of a split s is proportional to sᵀMs with M the task matrix; for N ≤ 16 all splits are
listed, so the optimum and the mean over random splits are exact. A rule cuts the leading principal axis of M, of the
Gram matrix or of the cosine matrix at its median, with one of three centrings, and may exchange pairs afterwards.

Theory (section F.11 and F.12, lemma L1): the axis of M comes near the optimum; that of the Gram matrix loses little; of
the cosine matrix more where norms spread; without centring a gradient that all tasks share hides the conflict.
Exchanging pairs helps on the Gram matrix and not on the cosine matrix, because that is the wrong objective and not a
rounding error. Control: if the loss were one of rounding, exchanges on the cosine matrix would close it as well.

A larger gain is not a better merged model: see `merged_against_gain`.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8
from numpy.typing import NDArray

from merit_theory.conflict import Centre, cosine_from_gram
from merit_theory.partition import pca_partition, swap_refined
from merit_theory.split_gain import expected_random_form
from merit_theory.split_search import balanced_signs, count_balanced_splits, signed_forms
from simulations.gradient_ensembles import ENSEMBLES, draw_gradients
from simulations.intervals import mean_interval, share_interval

Matrix = Literal["task matrix", "gram", "cosine"]


class Rule(NamedTuple):
    """A matrix whose leading axis is cut, how it is centred, and the matrix on which pairs are exchanged afterwards."""

    matrix: Matrix
    centre: Centre
    swap: Matrix | None

    @property
    def words(self) -> str:
        """The rule as it is called in findings."""
        swap = "" if self.swap is None else f", swap on {self.swap}"
        return f"{self.matrix}, centring {self.centre}{swap}"


MATRICES: tuple[Matrix, ...] = ("task matrix", "gram", "cosine")
CENTRINGS: tuple[Centre, ...] = ("none", "rows", "double")
RULES = (
    *(Rule(matrix, centre, None) for matrix, centre in product(MATRICES, CENTRINGS)),
    *(Rule(matrix, centre, matrix) for matrix, centre in product(MATRICES, CENTRINGS)),
    Rule("cosine", "double", "gram"),
)


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes of the experiment.

    Attributes:
        task_numbers: N, even, at most 16.
        decays: of the spectrum, λ_ℓ = ℓ^-decay; zero is the isotropic Hessian.
        dimension: d.
        instances: independent draws for each ensemble, N and decay.
        seed: of everything random.
    """

    task_numbers: tuple[int, ...] = (8, 12, 16)
    decays: tuple[float, ...] = (1.0, 0.0)
    dimension: int = 32
    instances: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        if any(n < 4 or n > 16 or n % 2 for n in self.task_numbers):
            raise ValueError(f"task_numbers are {self.task_numbers}; all splits are listed for even N from 4 to 16")
        if self.instances < 2:
            raise ValueError(f"instances is {self.instances}; an interval needs at least 2")


@dataclass(frozen=True, slots=True)
class Result:
    """Values of sᵀMs relative to the largest over all balanced splits, so 1 is the optimum.

    Attributes:
        task_numbers: int64 [sizes].
        decays: float64 [decays].
        ensembles: str [6], names along their axis.
        rules: str [rules], names along their axis.
        ratios: float64 [decays, ensembles, sizes, instances, rules], of the split each rule gives.
        random_mean: float64 [decays, ensembles, sizes, instances], mean over all balanced splits.
    """

    task_numbers: NDArray[np.int64]
    decays: NDArray[np.float64]
    ensembles: NDArray[np.str_]
    rules: NDArray[np.str_]
    ratios: NDArray[np.float64]
    random_mean: NDArray[np.float64]

    def summary(self, rule: Rule, decay: int, ensemble: int, size: int) -> dict[str, Any]:
        """Mean and 5 % quantile of the ratio to the optimum, and how often it is below the mean of random splits."""
        cell = self.ratios[decay, ensemble, size, :, self.rules.tolist().index(rule.words)]
        return {
            "share of the optimum": mean_interval(cell),
            "its 5 % quantile": float(np.quantile(cell, 0.05)),
            "worse than the random mean": share_interval(cell < self.random_mean[decay, ensemble, size]),
        }

    @property
    def findings(self) -> dict[str, Any]:
        """By rule and ensemble at the largest N and the first decay; what swaps add is paired, over all cells."""
        size = len(self.task_numbers) - 1
        told = (
            (Rule("task matrix", "double", None), "near the optimum"),
            (Rule("gram", "double", None), "near the optimum"),
            (Rule("cosine", "double", None), "lower where a mean is shared, lowest if norms spread besides"),
            (Rule("cosine", "rows", None), "like double centring"),
            (Rule("cosine", "none", None), "no better than chance where a mean is shared"),
            (Rule("cosine", "double", "cosine"), "no better than without swaps"),
            (Rule("cosine", "double", "gram"), "near the optimum"),
        )
        found: dict[str, Any] = {
            "random splits, share of the optimum": {
                name: mean_interval(self.random_mean[0, index, size])
                for index, name in enumerate(self.ensembles.tolist())
            }
        }
        for rule, predicted in told:
            by_ensemble = {
                name: self.summary(rule, 0, index, size) for index, name in enumerate(self.ensembles.tolist())
            }
            found[f"split along the axis of {rule.words}"] = {"predicted": predicted, "found": by_ensemble}
        names = self.rules.tolist()
        plain = self.ratios[..., names.index("cosine, centring double")]
        for matrix, predicted in (("cosine", "zero: the matrix is wrong, not the rounding"), ("gram", "positive")):
            swapped = self.ratios[..., names.index(f"cosine, centring double, swap on {matrix}")]
            # One number per instance index: draws of different cells are independent, so their mean is a sample too.
            difference = (swapped - plain).mean(axis=(0, 1, 2))
            found[f"what swaps on the {matrix} matrix add to the cosine split, all cells"] = {
                "predicted": predicted,
                "found": mean_interval(difference),
            }
        return found


def simulate(config: Config) -> Result:
    """Draw gradients, apply every rule, and list all splits for the optimum.

    Args:
        config: sizes and seed.
    """
    sizes = config.task_numbers
    shape = (len(config.decays), len(ENSEMBLES), len(sizes), config.instances)
    ratios, random_mean = np.empty((*shape, len(RULES))), np.empty(shape)
    splits = {n: balanced_signs(jnp.arange(count_balanced_splits(n)), n) for n in sizes}
    streams = np.random.default_rng(config.seed).spawn(int(np.prod(shape)))
    for cell, rng in zip(np.ndindex(shape), streams, strict=True):
        decay, ensemble, n_tasks = config.decays[cell[0]], ENSEMBLES[cell[1]], sizes[cell[2]]
        curvatures = np.arange(1.0, config.dimension + 1) ** -decay
        gradients = draw_gradients(ensemble, rng, n_tasks, curvatures)
        matrices = {"task matrix": (gradients * curvatures) @ gradients.T, "gram": gradients @ gradients.T}
        matrices["cosine"] = cosine_from_gram(matrices["gram"])
        optimum, mean = _optimum_and_mean(jnp.asarray(matrices["task matrix"]), splits[n_tasks])
        ratios[cell] = np.array(_forms(matrices)) / float(optimum)
        random_mean[cell] = float(mean) / float(optimum)
    return Result(
        task_numbers=np.array(sizes, dtype=np.int64),
        decays=np.array(config.decays),
        ensembles=np.array(ENSEMBLES),
        rules=np.array([rule.words for rule in RULES]),
        ratios=ratios,
        random_mean=random_mean,
    )


@jax.jit
def _optimum_and_mean(
    matrix: Float[Array, "n n"], splits: Int8[Array, "m n"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Largest sᵀMs over all balanced splits, and its mean over them."""
    return signed_forms(matrix, splits).max(), expected_random_form(matrix)


def _forms(matrices: dict[str, NDArray[np.float64]]) -> list[float]:
    """The value sᵀMs of the split that each rule gives."""
    along_axis = {
        (matrix, centre): pca_partition(matrices[matrix], 1, centre=centre, cut="count")
        for matrix, centre in product(MATRICES, CENTRINGS)
    }
    values = []
    for rule in RULES:
        split = along_axis[rule.matrix, rule.centre]
        if rule.swap is not None:
            split = swap_refined(split, matrices[rule.swap])
        signs = 1.0 - 2.0 * split.labels
        values.append(float(signs @ matrices["task matrix"] @ signs))
    return values
