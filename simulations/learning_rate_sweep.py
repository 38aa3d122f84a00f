"""Joint training and merges over learning rates up to and beyond the stability edge: who wins where, and why?

Setting: N quadratic tasks with spectrum λ_ℓ = 1/ℓ, so that gradient descent is stable up to η = 2; SGD with one task
per step from a start away from the optimum. At matched tokens each of K branches takes 1/K of the joint run's steps.
Groups come from the cosine matrix's axes (the paper), from the Gram matrix with exchanged pairs, or from chance. Losses
are exact expectations (theorem B and its form for reshuffled passes), except for tasks with their own Hessians, which
are sampled.

Theory (section 4, step 6). At small rates the merge is worse, and finer splits more so, only because branches take
fewer steps: at equal steps the effect is gone. Near the edge noise dominates, the merge averages it away and a split
that lowers variance within groups wins; in law it is joint training on batches stratified by group, and a random split
is little else than a larger batch. Beyond the edge everything diverges at the same rate per step. One reshuffled pass
multiplies the noise that a split can remove by 1 - (2/x)tanh(x/2) with x = ητλ: next to nothing is left of it for x
below one, next to all for x above five (section 8).

Control: if the geometry of the split and not noise and step counts made the difference, joint training on batches of K
would not match random groups, and reshuffling would not take away the advantage of PCA at small rates.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from merit_theory.conflict import cosine_from_gram
from merit_theory.hessian import DiagonalHessian
from merit_theory.linear_quadratic import LinearQuadraticModel
from merit_theory.partition import Partition, pca_partition, random_partition, swap_refined
from merit_theory.quick_jit import quick_jit
from merit_theory.sgd_law import expected_merged_loss, one_pass_factor
from simulations.intervals import Interval, mean_interval, share_interval
from simulations.sampled_branches import largest_stratified_difference, sampled_merged_losses

LEVELS = (1, 2, 3)
RULES = ("PCA of cosines", "PCA of the Gram matrix, pairs exchanged", "random")
SAMPLING = ("with replacement", "reshuffled")
JOINT = ("joint 1 epoch", "joint 2 epochs", "joint 1 epoch, batch 4")
MATCHED = tuple(f"{rule}, {2**level} groups" for level in LEVELS for rule in RULES)
EQUAL_STEPS = "PCA of cosines, 8 groups, equal steps"
ARMS = (*JOINT, *MATCHED, EQUAL_STEPS)


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes of the experiment.

    Attributes:
        instances: independent mixtures.
        n_tasks: N, a multiple of 8.
        dimension: d.
        copies: examples of a task in an epoch; the joint run takes copies·N steps.
        spread: standard deviation of the task optima in every coordinate.
        distance: standard deviation of the mixture's optimum from the start in every coordinate.
        rates: η, ascending; 2 is the edge.
        heterogeneity: standard deviation of the logarithm of a task's eigenvalues where tasks have their own Hessians.
        sampled_instances: mixtures with own Hessians.
        runs: sampled runs for each of them, and for the check of the law.
        seed: of everything random.
    """

    instances: int = 16
    n_tasks: int = 64
    dimension: int = 32
    copies: int = 2
    spread: float = 1.6
    distance: float = 2.6
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 1.7, 1.9, 2.05)
    heterogeneity: float = 0.3
    sampled_instances: int = 8
    runs: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_tasks % 8 or self.n_tasks < 16:
            raise ValueError(f"n_tasks is {self.n_tasks}; 8 equal groups of at least 2 need a multiple of 8 from 16 on")
        if self.copies * self.n_tasks % 32:
            raise ValueError(f"an epoch has {self.copies * self.n_tasks} examples; expected a multiple of 32")
        if sorted(self.rates) != list(self.rates) or len(self.rates) < 3 or self.rates[-1] <= 2:
            raise ValueError(
                f"rates are {self.rates}; expected at least 3, ascending, the last one beyond the edge at 2"
            )


@dataclass(frozen=True, slots=True)
class Result:
    """Expected mixture losses above the minimum.

    Attributes:
        arms: str [arms], names along their axis.
        steps: int64 [arms], steps of a branch.
        rates: float64 [rates], η.
        loss: float64 [2, arms, rates, instances], with a shared Hessian: with replacement, reshuffled.
        own_hessians: float64 [7, rates, sampled_instances], reshuffled and sampled: joint 1 epoch, then PCA of cosines
            with 2, 4, 8 groups, then random with 2, 4, 8 groups.
        law_error: float64 [2, rates], mean over runs of the sampled loss less the exact one, of the 4 PCA groups of the
            first mixture, in standard errors: with replacement, reshuffled.
        stratified_difference: float64 [2, rates], largest relative distance over runs between the merge of those groups
            and joint training on batches stratified by them, on the same draws.
    """

    arms: NDArray[np.str_]
    steps: NDArray[np.int64]
    rates: NDArray[np.float64]
    loss: NDArray[np.float64]
    own_hessians: NDArray[np.float64]
    law_error: NDArray[np.float64]
    stratified_difference: NDArray[np.float64]

    def of(self, arm: str, sampling: int) -> NDArray[np.float64]:
        """Losses of an arm, float64 [rates, instances]."""
        return self.loss[sampling, self.arms.tolist().index(arm)]

    def tuned(self, arm: str, sampling: int) -> NDArray[np.float64]:
        """Loss of an arm at its best rate for every mixture, float64 [instances]."""
        return self.of(arm, sampling).min(axis=0)

    @property
    def findings(self) -> dict[str, Any]:
        """What came out, with 95 % intervals over mixtures."""
        finer = [self.of(name, 0)[0] for name in (JOINT[0], *(f"{RULES[0]}, {2**level} groups" for level in LEVELS))]
        last_stable = int(np.flatnonzero(self.rates < 2)[-1])
        return {
            "share of mixtures in which finer is worse at the smallest rate": {
                "predicted": 1,
                "found": share_interval(np.all(np.diff(finer, axis=0) > 0, axis=0)),
            },
            "largest share of loss that 8 groups at equal steps save or cost at the smallest rate": {
                "predicted": "about zero: the damage at small rates is step count",
                "found": float(np.abs(self.of(EQUAL_STEPS, 0)[0] / finer[0] - 1).max()),
            },
            f"loss over that of joint 1 epoch at η = {self.rates[last_stable]:g}": {
                "predicted": "below 1, lowest for 8 groups, PCA below random",
                "found": {
                    how: {
                        arm: mean_interval(self._ratio(arm, s)[last_stable]) for arm in MATCHED if RULES[1] not in arm
                    }
                    for s, how in enumerate(SAMPLING)
                },
            },
            "tuned loss": {
                "predicted": "with replacement: joint .551; 2, 4, 8 groups .474, .463, .880, random .614, .776, 1.21",
                "found": {
                    how: {arm: mean_interval(self.tuned(arm, s)) for arm in ARMS} for s, how in enumerate(SAMPLING)
                },
            },
            "best rate (median over mixtures)": {
                "predicted": "larger for the merge",
                "found": {
                    how: {arm: float(np.median(self.rates[self.of(arm, s).argmin(axis=0)])) for arm in ARMS}
                    for s, how in enumerate(SAMPLING)
                },
            },
            "tuned loss of the best PCA merge over that of joint 1 epoch": {
                "predicted": "below 1 with replacement (.84)",
                "found": {how: self._best_pca_over_joint(s) for s, how in enumerate(SAMPLING)},
            },
            "share of random groups' tuned loss that PCA of cosines saves": {
                "predicted": "with replacement .23, .40, .27; reshuffled the same where tuned ητ is above five",
                "found": {how: self._saved(RULES[0], s) for s, how in enumerate(SAMPLING)},
            },
            "share of random groups' tuned loss that the Gram matrix with exchanged pairs saves": {
                "predicted": "more than cosines with replacement",
                "found": {how: self._saved(RULES[1], s) for s, how in enumerate(SAMPLING)},
            },
            "what reshuffling leaves of the advantage of 2 PCA groups over random ones": {
                "predicted": {
                    f"η = {rate:g}": float(factor)
                    for rate, factor in zip(self.rates[: last_stable + 1], self._left_on_sharpest_axis, strict=False)
                },
                "found": {
                    f"η = {rate:g}": mean_interval(share)
                    for rate, share in zip(self.rates[: last_stable + 1], self._left_by_reshuffling, strict=False)
                },
            },
            "loss of joint 1 epoch, reshuffled over with replacement": {
                "predicted": "at most 1 for small steps; beyond η = 1 the signs of (1-η)^t alternate: open",
                "found": {
                    f"η = {rate:g}": mean_interval(ratio)
                    for rate, ratio in zip(self.rates, self.of(JOINT[0], 1) / self.of(JOINT[0], 0), strict=True)
                },
            },
            "loss of 4 random groups over that of joint training on batches of 4, below the edge": {
                "predicted": "about 1",
                "found": {
                    how: {
                        f"η = {rate:g}": mean_interval(ratio)
                        for rate, ratio in zip(self.rates[: last_stable + 1], self._random_over_batch(s), strict=False)
                    }
                    for s, how in enumerate(SAMPLING)
                },
            },
            f"growth of log loss per step at η = {self.rates[-1]:g}, beyond the edge": {
                "predicted": float(2 * np.log(self.rates[-1] - 1)),
                "found": {"joint": mean_interval(self._growth(JOINT[1], JOINT[0])), "merge": self._merge_growth()},
            },
            "merge and joint training on batches stratified by group, on the same draws, largest relative distance": {
                "predicted": "rounding",
                "found": {how: float(self.stratified_difference[s].max()) for s, how in enumerate(SAMPLING)},
            },
            "sampled less exact loss of the merge, largest over rates, in standard errors": {
                "predicted": "below 4",
                "found": {how: float(np.abs(self.law_error[s]).max()) for s, how in enumerate(SAMPLING)},
            },
            "own Hessians, reshuffled, sampled: tuned loss over that of joint 1 epoch": {
                "predicted": "no theorem; the shared Hessian's pattern if curvature matters little",
                "found": self._own_hessians(),
            },
        }

    def _ratio(self, arm: str, sampling: int) -> NDArray[np.float64]:
        return self.of(arm, sampling) / self.of(JOINT[0], sampling)

    def _best_pca_over_joint(self, sampling: int) -> Interval:
        best = np.min([self.tuned(f"{RULES[0]}, {2**level} groups", sampling) for level in LEVELS], axis=0)
        return mean_interval(best / self.tuned(JOINT[0], sampling))

    def _saved(self, rule: str, sampling: int) -> dict[str, Interval]:
        tuned = [
            [self.tuned(f"{which}, {2**level} groups", sampling) for which in (rule, RULES[2])] for level in LEVELS
        ]
        return {
            f"{2**level} groups": mean_interval(1 - ours / chance)
            for level, (ours, chance) in zip(LEVELS, tuned, strict=True)
        }

    @property
    def _left_by_reshuffling(self) -> NDArray[np.float64]:
        advantage = [self.of(f"{RULES[2]}, 2 groups", s) - self.of(f"{RULES[0]}, 2 groups", s) for s in range(2)]
        return advantage[1] / advantage[0]

    @property
    def _left_on_sharpest_axis(self) -> NDArray[np.float64]:
        """The factor of one pass of small steps along λ = 1, which carries most of the noise; float64 [rates]."""
        steps = self.steps[self.arms.tolist().index(f"{RULES[0]}, 2 groups")]
        return np.asarray(one_pass_factor(jnp.asarray(self.rates * steps)))

    def _random_over_batch(self, sampling: int) -> NDArray[np.float64]:
        return self.of(f"{RULES[2]}, 4 groups", sampling) / self.of(JOINT[2], sampling)

    def _growth(self, longer: str, shorter: str) -> NDArray[np.float64]:
        names = self.arms.tolist()
        extra = self.steps[names.index(longer)] - self.steps[names.index(shorter)]
        return np.log(self.of(longer, 0)[-1] / self.of(shorter, 0)[-1]) / extra

    def _merge_growth(self) -> Interval:
        return mean_interval(self._growth(EQUAL_STEPS, f"{RULES[0]}, 8 groups"))

    def _own_hessians(self) -> dict[str, Interval]:
        tuned = self.own_hessians.min(axis=1)
        names = [f"{rule}, {2**level} groups" for rule in (RULES[0], RULES[2]) for level in LEVELS]
        return {name: mean_interval(row / tuned[0]) for name, row in zip(names, tuned[1:], strict=True)}


class _Mixture(NamedTuple):
    """One draw: tasks, start, and the groups [K, N/K] of every rule and number of groups."""

    optima: NDArray[np.float64]
    start: NDArray[np.float64]
    groups: dict[tuple[str, int], NDArray[np.int64]]


def simulate(config: Config) -> Result:
    """Losses of all arms over all rates.

    Args:
        config: sizes and seed.
    """
    streams = np.random.default_rng(config.seed).spawn(config.instances + config.sampled_instances)
    curvatures = 1 / np.arange(1.0, config.dimension + 1)
    shared = [_draw(config, curvatures, rng) for rng in streams[: config.instances]]
    loss = np.stack([[_arm_losses(config, curvatures, shared, arm, s) for arm in _arms(config)] for s in (False, True)])
    law_error, difference = _check_of_law(config, curvatures, shared[0], loss[:, ARMS.index(MATCHED[3]), :, 0])
    return Result(
        arms=np.array(ARMS),
        steps=np.array([arm.steps for arm in _arms(config)]),
        rates=np.array(config.rates),
        loss=loss,
        own_hessians=_own_hessians(config, curvatures, streams[config.instances :]),
        law_error=law_error,
        stratified_difference=difference,
    )


class _Arm(NamedTuple):
    rule: str | None
    n_groups: int
    steps: int
    batch: int


def _arms(config: Config) -> list[_Arm]:
    """What `ARMS` means, in its order."""
    epoch = config.copies * config.n_tasks
    joint = [_Arm(None, 1, epoch, 1), _Arm(None, 1, 2 * epoch, 1), _Arm(None, 1, epoch // 4, 4)]
    matched = [_Arm(rule, 2**level, epoch // 2**level, 1) for level in LEVELS for rule in RULES]
    return [*joint, *matched, _Arm(RULES[0], 8, epoch, 1)]


def _draw(config: Config, curvatures: NDArray[np.float64], rng: np.random.Generator) -> _Mixture:
    """Optima whose mean is the origin, a start, and the groups that each rule finds from the gradients there."""
    optima = config.spread * rng.standard_normal((config.n_tasks, config.dimension))
    optima -= optima.mean(axis=0)
    start = config.distance * rng.standard_normal(config.dimension)
    gradients = (start - optima) * curvatures
    gram = gradients @ gradients.T
    groups = {}
    for level in LEVELS:
        found: dict[str, Partition] = {
            RULES[0]: pca_partition(cosine_from_gram(gram), level, centre="double", cut="count"),
            RULES[1]: swap_refined(pca_partition(gram, level, centre="double", cut="count"), gram),
            RULES[2]: random_partition(config.n_tasks, 2**level, rng),
        }
        groups |= {(rule, 2**level): np.array(partition.groups) for rule, partition in found.items()}
    return _Mixture(optima, start, groups)


def _rows(groups: NDArray[np.int64], n_tasks: int) -> NDArray[np.float64]:
    """Weights [K, N] of the tasks in every branch."""
    return Partition(tuple(map(tuple, groups.tolist()))).indicators.T / (n_tasks / len(groups))


def _arm_losses(
    config: Config, curvatures: NDArray[np.float64], mixtures: list[_Mixture], arm: _Arm, reshuffled: bool
) -> NDArray[np.float64]:
    """Exact excess losses of one arm, float64 [rates, instances]."""
    n_tasks = config.n_tasks
    everything = np.arange(n_tasks)[None, :]
    groups = [everything if arm.rule is None else mixture.groups[arm.rule, arm.n_groups] for mixture in mixtures]
    population = config.copies * n_tasks // arm.n_groups if reshuffled else None
    losses = _exact_losses(
        jnp.asarray(curvatures),
        jnp.stack([mixture.optima for mixture in mixtures]),
        jnp.stack([mixture.start for mixture in mixtures]),
        jnp.stack([_rows(group, n_tasks) for group in groups]),
        jnp.array(config.rates),
        steps=arm.steps,
        batch=arm.batch,
        population=population,
    )
    return np.asarray(losses)


@partial(quick_jit, static_argnames=("steps", "batch", "population"))
def _exact_losses(
    curvatures: Float[Array, " d"],
    optima: Float[Array, "m n d"],
    starts: Float[Array, "m d"],
    rows: Float[Array, "m k n"],
    rates: Float[Array, " r"],
    *,
    steps: int,
    batch: int,
    population: int | None,
) -> Float[Array, "r m"]:
    def one(places: Array, start: Array, groups: Array, rate: Float[Array, ""]) -> Float[Array, ""]:
        model = LinearQuadraticModel(DiagonalHessian(curvatures), places)
        shares = jnp.full(len(groups), 1 / len(groups))
        expected = expected_merged_loss(model, start, groups, shares, rate, steps, batch=batch, population=population)
        return expected - model.loss(model.optimum())

    over_mixtures = jax.vmap(one, (0, 0, 0, None))
    return jax.vmap(over_mixtures, (None, None, None, 0))(optima, starts, rows, rates)


def _check_of_law(
    config: Config, curvatures: NDArray[np.float64], mixture: _Mixture, exact: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sampled runs of 4 PCA groups against the law, and against stratified joint training on the same draws."""
    model = LinearQuadraticModel(DiagonalHessian(jnp.asarray(curvatures)), jnp.asarray(mixture.optima))
    minimum = float(model.loss(model.optimum()))
    groups: Int[Array, "k m"] = jnp.asarray(mixture.groups[RULES[0], 4])
    errors, differences = [], []
    for reshuffled in (False, True):
        arguments = (model, jnp.asarray(mixture.start), groups, jnp.array(config.rates), jax.random.key(config.seed))
        sizes: dict[str, Any] = {"copies": config.copies, "steps": config.copies * config.n_tasks // 4}
        sizes |= {"runs": config.runs, "reshuffled": reshuffled}
        sampled = np.asarray(sampled_merged_losses(*arguments, **sizes)) - minimum
        standard_error = sampled.std(axis=1, ddof=1) / np.sqrt(config.runs)
        errors.append((sampled.mean(axis=1) - exact[int(reshuffled)]) / standard_error)
        differences.append(np.asarray(largest_stratified_difference(*arguments, **sizes)))
    return np.stack(errors), np.stack(differences)


def _own_hessians(
    config: Config, curvatures: NDArray[np.float64], streams: list[np.random.Generator]
) -> NDArray[np.float64]:
    """Sampled excess losses where every task has eigenvalues of its own; float64 [7, rates, sampled_instances]."""
    epoch = config.copies * config.n_tasks
    everything = np.arange(config.n_tasks)[None, :]
    columns = []
    for index, rng in enumerate(streams):
        own = curvatures * np.exp(config.heterogeneity * rng.standard_normal((config.n_tasks, config.dimension)))
        own *= curvatures / own.mean(axis=0)
        mixture = _draw(config, own, rng)
        model = LinearQuadraticModel(DiagonalHessian(jnp.asarray(own)), jnp.asarray(mixture.optima))
        minimum = float(model.loss(model.optimum()))
        arms = [everything, *(mixture.groups[rule, 2**level] for rule in (RULES[0], RULES[2]) for level in LEVELS)]
        losses = [
            sampled_merged_losses(
                model,
                jnp.asarray(mixture.start),
                jnp.asarray(groups),
                jnp.array(config.rates),
                jax.random.key(config.seed + index),
                copies=config.copies,
                steps=epoch // len(groups),
                runs=config.runs,
                reshuffled=True,
            ).mean(axis=1)
            for groups in arms
        ]
        columns.append(np.stack(losses) - minimum)
    return np.stack(columns, axis=-1)
