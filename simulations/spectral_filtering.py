"""What do merging and joint training leave on the sharp and on the flat directions of the loss?

Setting: N quadratic tasks in two groups, gradient descent from a generic start, losses split into a part within a
subspace S, a part outside and a cross term. S is the span of the sharpest eigenvectors of the mean Hessian, or of the
leading principal axes of the task gradients, which need not be H-invariant.

Theory (F.3, section 4): τ steps leave (1-ηλ)^τ of an eigendirection, for the merged model as for joint training at
equal steps, so with a shared Hessian the split leaves no trace in either subspace; the branches, though, do stay apart
on the sharp one, and that difference is the gain. The paper's premise, that merging empties the sharp subspace, asks
joint training to have emptied it as well. Cross terms vanish for eigenvectors and not for gradient axes.

Control: with a Hessian for each task the merged model does differ from joint training; were it to differ with a shared
one, the mean over branches would not be what first-order training fixes.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from merit_theory.hessian import DenseHessian
from merit_theory.linear_quadratic import LinearQuadraticModel, branch_displacements, group_weights
from merit_theory.partition import pca_partition
from merit_theory.quick_jit import quick_jit
from merit_theory.spectral_filter import filter_factor, subspace_loss
from simulations.intervals import mean_interval

HESSIANS = ("shared Hessian", "own Hessians")
SUBSPACES = ("sharpest eigenvectors", "leading gradient axes")
MODELS = ("merged", "joint at equal steps", "joint at equal tokens", "branch")
PARTS = ("within", "outside", "cross")


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes of the experiment.

    Attributes:
        instances: independent mixtures.
        n_tasks: N, even.
        dimension: d.
        n_sharp: dimension of the subspace, below d and N.
        heterogeneity: share of random noise of mean one in a task's own Hessian.
        steps: τ of every branch, ascending.
        learning_rate: η, with the largest eigenvalue of the shared Hessian at one.
        seed: of everything random.
    """

    instances: int = 32
    n_tasks: int = 16
    dimension: int = 24
    n_sharp: int = 3
    heterogeneity: float = 0.5
    steps: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    learning_rate: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n_sharp < min(self.dimension, self.n_tasks):
            raise ValueError(f"n_sharp is {self.n_sharp}; expected 1 ≤ n_sharp < dimension and tasks")
        if not 0 <= self.heterogeneity <= 1:
            raise ValueError(f"heterogeneity is {self.heterogeneity}; Hessians are convex for shares from 0 to 1")


@dataclass(frozen=True, slots=True)
class Result:
    """Losses on the mixture above its minimum; the branch is the mean over both.

    Attributes:
        steps: int64 [steps], τ.
        curvatures: float64 [d], eigenvalues of the shared Hessian, descending.
        filter_factors: float64 [steps, d], 1-(1-ηλ)^τ.
        losses: float64 [2 Hessians, 2 subspaces, 4 models, 3 parts, instances, steps]: shared, own; eigenvectors,
            gradient axes; merged, joint at τ and at 2τ steps, branch; within the subspace, outside, cross term.
        start: float64 [2 Hessians, 2 subspaces, 3 parts, instances], the same at the start.
    """

    steps: NDArray[np.int64]
    curvatures: NDArray[np.float64]
    filter_factors: NDArray[np.float64]
    losses: NDArray[np.float64]
    start: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        """Loss in all parts, float64 [2 Hessians, 4 models, instances, steps]."""
        return self.losses[:, 0].sum(axis=2)

    @property
    def merged_minus_joint(self) -> NDArray[np.float64]:
        """Largest difference between parts of merged and joint loss, over the branch loss, by Hessians; float64 [2]."""
        difference = np.abs(self.losses[:, :, 0] - self.losses[:, :, 1])
        return (difference / self.total[:, None, 3, None]).max(axis=(1, 2, 3, 4))

    @property
    def findings(self) -> dict[str, Any]:
        """What came out, with 95 % intervals over mixtures."""
        sharp = self.losses[:, 0, :, 0] / self.start[:, 0, 0].mean(axis=-1)[:, None, None, None]
        flat = self.losses[:, 0, :, 1] / self.start[:, 0, 1].mean(axis=-1)[:, None, None, None]
        apart = self.losses[0, 0, 3, :2] - self.losses[0, 0, 0, :2]
        cross = np.abs(self.losses[:, :, 0, 2]) / self.losses[:, :, 0, :2].sum(axis=2)
        shown = np.unique(np.linspace(0, len(self.steps) - 1, 4).astype(int)).tolist()

        def by_steps(values: NDArray[np.float64]) -> dict[str, Any]:
            return {f"{self.steps[index]} steps": mean_interval(values[:, index]) for index in shown}

        return {
            "largest difference of merged and joint at equal steps in any part, over the branch loss": {
                "predicted": "rounding with a shared Hessian, not with own ones",
                "found": dict(zip(HESSIANS, self.merged_minus_joint.tolist(), strict=True)),
            },
            "loss on the sharp subspace over its mean at the start": {
                "predicted": "the same merged and joint with a shared Hessian; more in the branches",
                "found": {
                    f"{h}, {m}": by_steps(sharp[i, j]) for i, h in enumerate(HESSIANS) for j, m in enumerate(MODELS)
                },
            },
            "loss outside over its mean at the start": {
                "predicted": "falls later than on the sharp subspace",
                "found": {
                    f"{h}, {m}": by_steps(flat[i, j]) for i, h in enumerate(HESSIANS) for j, m in enumerate(MODELS)
                },
            },
            "share of the gain that lies on the sharp subspace, shared Hessian": {
                "predicted": "falls with τ, as the weight of an axis falls from λ³ to λ",
                "found": by_steps(apart[0] / apart.sum(axis=0)),
            },
            "cross term over the sum of both parts, merged": {
                "predicted": "zero for eigenvectors, not for gradient axes",
                "found": {
                    f"{h}, {s}": by_steps(cross[i, j]) for i, h in enumerate(HESSIANS) for j, s in enumerate(SUBSPACES)
                },
            },
            "merged loss over that of joint training at equal tokens": {
                "predicted": "at least 1 with a shared Hessian",
                "found": {h: by_steps(self.total[i, 0] / self.total[i, 2]) for i, h in enumerate(HESSIANS)},
            },
        }


def simulate(config: Config) -> Result:
    """Split the mixtures along their gradients and follow all models.

    Args:
        config: sizes and seed.
    """
    curvatures = 1 / np.arange(1.0, config.dimension + 1)
    steps = jnp.array(config.steps)
    losses, starts = [], []
    for rng in np.random.default_rng(config.seed).spawn(config.instances):
        optima = rng.standard_normal((config.n_tasks, config.dimension))
        start = rng.standard_normal(config.dimension)
        factors = rng.standard_normal((config.n_tasks, config.dimension, config.dimension)) / config.dimension**0.5
        # Wishart noise of mean one, seen through the root of the shared Hessian, whose mean is that Hessian again.
        noise = factors @ factors.swapaxes(-1, -2) - np.eye(config.dimension)
        root = np.sqrt(curvatures)[:, None] * np.sqrt(curvatures)
        own = np.diag(curvatures) + config.heterogeneity * root * noise
        shared = np.broadcast_to(np.diag(curvatures), own.shape)
        both = [_measure(config, jnp.asarray(stack), jnp.asarray(optima), start, steps) for stack in (shared, own)]
        losses.append(np.stack([one[0] for one in both]))
        starts.append(np.stack([one[1] for one in both]))
    return Result(
        steps=np.array(config.steps, dtype=np.int64),
        curvatures=curvatures,
        filter_factors=np.asarray(filter_factor(config.learning_rate * curvatures[None, :], steps[:, None])),
        losses=np.moveaxis(np.stack(losses), 0, 4),
        start=np.moveaxis(np.stack(starts), 0, 3),
    )


def _measure(
    config: Config,
    hessians: Float[Array, "n d d"],
    optima: Float[Array, "n d"],
    start: NDArray[np.float64],
    steps: Int[Array, " t"],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Losses [2 subspaces, 4 models, 3 parts, steps] and at the start [2 subspaces, 3 parts]."""
    gradients = np.einsum("nij,nj->ni", np.asarray(hessians), start - np.asarray(optima))
    rows = group_weights(pca_partition(gradients @ gradients.T, 1, centre="double", cut="count"))
    axes = np.linalg.svd(gradients - gradients.mean(axis=0), full_matrices=False)[2][: config.n_sharp].T
    sharpest = np.linalg.eigh(np.asarray(hessians).mean(axis=0))[1][:, ::-1][:, : config.n_sharp]
    bases = jnp.asarray(np.stack([sharpest, axes]))
    losses, at_start = _losses(hessians, optima, jnp.asarray(start), rows, bases, config.learning_rate, steps)
    return np.asarray(losses), np.asarray(at_start)


@quick_jit
def _losses(
    hessians: Float[Array, "n d d"],
    optima: Float[Array, "n d"],
    start: Float[Array, " d"],
    rows: Float[Array, "2 n"],
    bases: Float[Array, "2 d k"],
    rate: float,
    steps: Int[Array, " t"],
) -> tuple[Float[Array, "2 4 3 t"], Float[Array, "2 3"]]:
    model = LinearQuadraticModel(DenseHessian(hessians), optima)
    mean = model.mean_hessian().dense()
    offset = start - model.optimum()

    def parts(displacement: Float[Array, " d"], basis: Float[Array, "d k"]) -> Float[Array, " 3"]:
        return jnp.stack(subspace_loss(mean, displacement, basis))

    def after(basis: Float[Array, "d k"], tau: Any) -> Float[Array, "4 3"]:
        branches = branch_displacements(model, start, rows, rate, tau)
        joint = [branch_displacements(model, start, model.uniform[None, :], rate, k * tau)[0] for k in (1, 2)]
        models = [parts(offset + moved, basis) for moved in (branches.mean(axis=0), *joint)]
        return jnp.stack([*models, (parts(offset + branches[0], basis) + parts(offset + branches[1], basis)) / 2])

    over_steps = jax.vmap(after, (None, 0), out_axes=2)
    losses = jax.vmap(over_steps, (0, None))(bases, steps)
    return losses, jax.vmap(lambda basis: parts(offset, basis))(bases)
