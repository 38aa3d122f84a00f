"""Does the axis that a split is cut along find the conflict, whatever mean is shared and however norms spread?

Setting: gradients g_i = ρ_i (m + s_i c + noise) with a planted conflict: balanced signs s_i, a direction c and a mean m
that all tasks share. Knobs: the length of m, the spread of the lengths ρ_i, and the tilt of c towards m. Axes are those
of the Gram and of the cosine matrix under the three centrings. An axis is good if it lies along s, the true conflict
axis; its gain is that of its median split under a Hessian equal to the identity, relative to the best of all splits.

Theory (lemma L1, F.4, section 2): without centring the leading axis of the cosine matrix becomes the all-ones vector as
the shared mean grows, and its split is chance, unless the conflict tilts towards the mean. The centred Gram matrix
takes differences of norm, (ρ_i - ρ̄)m, for conflict; the cosine matrix takes them out. The gain counts such differences
as well, so where they are large the axis of the conflict and that of the gain part. The bound of F.4 on the angle
between both matrices' axes says nothing from a norm ratio of 1.58 on.

Control: with ρ_i = 1 and no shared mean all six axes must agree; were they to differ there, noise and not centring or
normalisation would be what separates them.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8
from numpy.typing import NDArray

from merit_theory.conflict import Centre, cosine_from_gram, principal_axes
from merit_theory.eigenspace import rotation_bound
from merit_theory.partition import cut_in_two
from merit_theory.split_gain import expected_random_form
from merit_theory.split_search import balanced_signs, count_balanced_splits, signed_forms
from simulations.intervals import mean_interval, share_interval

CENTRINGS: tuple[Centre, ...] = ("none", "rows", "double")
AXES = tuple(f"{matrix}, centring {centre}" for matrix, centre in product(("gram", "cosine"), CENTRINGS))


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes and knobs of the experiment.

    Attributes:
        instances: independent draws at every setting of the knobs.
        n_tasks: N, even, at most 16.
        dimension: d.
        means: length of the shared gradient, in units of the conflict's.
        spreads: standard deviation of the logarithm of the gradients' lengths.
        tilts: cosine of the angle between conflict and shared gradient.
        noise: length of a task's own gradient, in units of the conflict's.
        seed: of everything random.
    """

    instances: int = 32
    n_tasks: int = 12
    dimension: int = 64
    means: tuple[float, ...] = (0.0, 1.0, 3.0, 10.0)
    spreads: tuple[float, ...] = (0.0, 0.17, 0.4)
    tilts: tuple[float, ...] = (0.0, 0.5)
    noise: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_tasks % 2 or not 4 <= self.n_tasks <= 16:
            raise ValueError(f"n_tasks is {self.n_tasks}; all splits are listed for even N from 4 to 16")
        if not all(0 <= tilt < 1 for tilt in self.tilts):
            raise ValueError(f"tilts are {self.tilts}; expected cosines from 0 to below 1")


@dataclass(frozen=True, slots=True)
class Result:
    """How the axes do. Leading axes of arrays: [tilts, means, spreads].

    Attributes:
        tilts: float64 [tilts].
        means: float64 [means].
        spreads: float64 [spreads].
        axes: str [6], names along their axis: Gram, cosine, each with centring none, rows, double.
        alignment: float64 [..., 6, instances], |cosine| of an axis, its mean taken out, with the planted signs.
        gain: float64 [..., 6, instances], of the axis's split, over the best of all splits.
        random_gain: float64 [..., instances], mean over all splits, over the best.
        agreement: float64 [..., 3, instances], |cosine| of the Gram and the cosine axis with one centring.
        same_side: float64 [..., 3, instances], share of tasks that both put on the same side, at least one half.
        bound: float64 [..., instances], of F.4 on the sine between both doubly centred axes; at one it says nothing.
    """

    tilts: NDArray[np.float64]
    means: NDArray[np.float64]
    spreads: NDArray[np.float64]
    axes: NDArray[np.str_]
    alignment: NDArray[np.float64]
    gain: NDArray[np.float64]
    random_gain: NDArray[np.float64]
    agreement: NDArray[np.float64]
    same_side: NDArray[np.float64]
    bound: NDArray[np.float64]

    @property
    def findings(self) -> dict[str, Any]:
        """What came out, with 95 % intervals over draws; from no to the largest shared mean at the largest spread."""
        spread = len(self.spreads) - 1
        measures = (
            (
                "alignment with the conflict",
                self.alignment,
                "falls as the mean grows: norms pass for conflict",
                "stays",
            ),
            ("share of the best gain", self.gain, "near 1: the gain counts norms too", "falls with the mean"),
        )
        found: dict[str, Any] = {}
        for name, values, of_gram, of_cosine in measures:
            told = {
                "gram, centring none": "falls as the mean grows",
                "gram, centring rows": of_gram,
                "gram, centring double": of_gram,
                "cosine, centring none": "chance where the mean is large and the conflict does not tilt",
                "cosine, centring rows": of_cosine,
                "cosine, centring double": of_cosine,
            }
            for axis, words in enumerate(self.axes.tolist()):
                cells = {
                    f"tilt {tilt:g}": self._by_mean(values[i, :, spread, axis]) for i, tilt in enumerate(self.tilts)
                }
                key = f"{name}, {words}, norm spread {self.spreads[spread]:g}"
                found[key] = {"predicted": told[words], "found": cells}
        found[f"share of the best gain of random splits, norm spread {self.spreads[spread]:g}"] = {
            f"tilt {tilt:g}": self._by_mean(self.random_gain[i, :, spread]) for i, tilt in enumerate(self.tilts)
        }
        found["|cosine| of Gram and cosine axis, doubly centred, conflict at right angles to the mean"] = {
            "predicted": "at a norm spread of .17: .92, .93, .38, .13 for means 0, 1, 3, 10",
            "found": self._by_spread(self.agreement[0, :, :, 2]),
        }
        found["share of tasks on the same side of both, at least one half by definition"] = {
            "predicted": "at a norm spread of .17: .93, .93, .64, .57 for means 0, 1, 3, 10",
            "found": self._by_spread(self.same_side[0, :, :, 2]),
        }
        found["share of draws in which the bound of F.4 says something"] = {
            "predicted": "1 without norm spread and mean, 0 at a spread of .4",
            "found": {
                f"norm spread {value:g}": {
                    f"mean {mean:g}": share_interval(self.bound[0, j, k] < 1) for j, mean in enumerate(self.means)
                }
                for k, value in enumerate(self.spreads)
            },
        }
        return found

    def _by_mean(self, values: NDArray[np.float64]) -> dict[str, Any]:
        return {f"mean {mean:g}": mean_interval(row) for mean, row in zip(self.means, values, strict=True)}

    def _by_spread(self, values: NDArray[np.float64]) -> dict[str, Any]:
        return {f"norm spread {value:g}": self._by_mean(values[:, k]) for k, value in enumerate(self.spreads)}


def simulate(config: Config) -> Result:
    """Draw gradients at every setting of the knobs and compare the axes.

    Args:
        config: sizes, knobs and seed.
    """
    shape = (len(config.tilts), len(config.means), len(config.spreads))
    per_axis, per_pair = (len(AXES), config.instances), (len(CENTRINGS), config.instances)
    alignment, gain = np.empty((*shape, *per_axis)), np.empty((*shape, *per_axis))
    agreement, same_side = np.empty((*shape, *per_pair)), np.empty((*shape, *per_pair))
    random_gain, bound = np.empty((*shape, config.instances)), np.empty((*shape, config.instances))
    splits = balanced_signs(jnp.arange(count_balanced_splits(config.n_tasks)), config.n_tasks)
    planted = np.where(np.arange(config.n_tasks) < config.n_tasks // 2, 1.0, -1.0)
    cells = list(np.ndindex(*shape, config.instances))
    for (*knobs, instance), rng in zip(cells, np.random.default_rng(config.seed).spawn(len(cells)), strict=True):
        at = tuple(knobs)
        gram = _gram(config, rng, planted, *(values[i] for values, i in zip(_knobs(config), at, strict=True)))
        best, mean, limit = (float(value) for value in _references(jnp.asarray(gram), splits))
        axes = _unit_axes(gram)
        sides = np.array([_signs(axis) for axis in axes])
        alignment[(*at, slice(None), instance)] = np.abs(
            _unit(axes - axes.mean(axis=1, keepdims=True)) @ _unit(planted)
        )
        gain[(*at, slice(None), instance)] = np.einsum("ai,ij,aj->a", sides, gram, sides) / best
        agreement[(*at, slice(None), instance)] = np.abs((axes[:3] * axes[3:]).sum(axis=1))
        same_side[(*at, slice(None), instance)] = 0.5 + np.abs((sides[:3] * sides[3:]).mean(axis=1)) / 2
        random_gain[(*at, instance)], bound[(*at, instance)] = mean / best, limit
    tilts, means, spreads = (np.array(values) for values in _knobs(config))
    names = np.array(AXES)
    return Result(tilts, means, spreads, names, alignment, gain, random_gain, agreement, same_side, bound)


def _knobs(config: Config) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    return config.tilts, config.means, config.spreads


def _gram(
    config: Config, rng: np.random.Generator, planted: NDArray[np.float64], tilt: float, mean: float, spread: float
) -> NDArray[np.float64]:
    """Inner products of gradients with a planted conflict, float64 [N, N]."""
    # The two directions are unit vectors at right angles before the tilt.
    shared, across = np.linalg.qr(rng.standard_normal((config.dimension, 2)))[0].T
    conflict = tilt * shared + np.sqrt(1 - tilt**2) * across
    noise = config.noise * rng.standard_normal((config.n_tasks, config.dimension)) / config.dimension**0.5
    gradients = mean * shared + planted[:, None] * conflict + noise
    gradients *= np.exp(spread * rng.standard_normal((config.n_tasks, 1)))
    return gradients @ gradients.T


def _unit_axes(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leading axis, of length one, of both matrices under all centrings; float64 [6, N] in the order of `AXES`."""
    matrices = (gram, cosine_from_gram(gram))
    return _unit(
        np.stack(
            [
                principal_axes(matrix, 1, centre=centre).coordinates[:, 0]
                for matrix, centre in product(matrices, CENTRINGS)
            ]
        )
    )


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _signs(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """The balanced split of an axis as signs."""
    signs = np.ones(len(axis))
    signs[cut_in_two(axis, cut="count")[0]] = -1.0
    return signs


@jax.jit
def _references(
    gram: Float[Array, "n n"], splits: Int8[Array, "m n"]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Best and mean value over all splits, and the bound of F.4 between the doubly centred axes."""
    return signed_forms(gram, splits).max(), expected_random_form(gram), rotation_bound(gram, 1, "double")
