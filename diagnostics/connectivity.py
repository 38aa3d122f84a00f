"""Linear connectivity (appendix B.1, Table 6): the loss on the straight lines between branches and to their merge.

No barrier on them is what makes an average of weights safe. It is a weak statement, too: in a convex quadratic basin
every barrier is zero, whatever the branches learnt.
"""

from itertools import combinations
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from diagnostics.bench import Bench
from diagnostics.checkpoints import Checkpoints
from diagnostics.resampling import Resamples, interval_of
from diagnostics.result import Arrays, Result
from training.evaluation.noise import Interval


class LinearPath(BaseModel):
    """Losses L((1-α)θ_a + αθ_b) at evenly spaced α from 0 to 1, in nats per answer token.

    Attributes:
        ends: names of the checkpoints a and b.
        losses: at each α.
        excess: loss over the chord between the ends at each α, with paired intervals over items.
        barrier: the largest excess; zero at the ends, hence never negative.
        dip: mean loss of the ends minus loss at the midpoint. In a quadratic basin it is ⅛dᵀHd with d = θ_a - θ_b.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ends: tuple[str, str]
    losses: tuple[float, ...]
    excess: tuple[Interval, ...]
    barrier: Interval
    dip: Interval

    @property
    def alphas(self) -> tuple[float, ...]:
        """Positions of the losses on the path."""
        return tuple(np.linspace(0, 1, len(self.losses)).tolist())

    @property
    def lowest(self) -> tuple[float, float]:
        """Position and loss of the lowest point measured."""
        position = min(range(len(self.losses)), key=self.losses.__getitem__)
        return self.alphas[position], self.losses[position]


class Connectivity(Result):
    """All branch pairs, then every branch with the merged model."""

    name: ClassVar[str] = "connectivity"
    uses: ClassVar[tuple[str, ...]] = ("probe", "connectivity")

    paths: tuple[LinearPath, ...]

    @property
    def worst(self) -> LinearPath:
        """The path with the largest barrier."""
        return max(self.paths, key=lambda path: path.barrier.value)


def expected_tokens(bench: Bench) -> int:
    """Forward tokens that :func:`measure` takes."""
    paths = path_ends(bench.checkpoints)
    ends = {name for pair in paths for name in pair}
    inside = bench.settings.connectivity.points - 2
    return (len(paths) * inside + len(ends)) * bench.probe.input_tokens


def path_ends(checkpoints: Checkpoints) -> list[tuple[str, str]]:
    """The ends of every path: all pairs of branches, then each branch with the merged model."""
    names = checkpoints.branch_names
    return [*combinations(names, 2), *((name, "merged") for name in names)]


def measure(bench: Bench) -> tuple[Connectivity, Arrays]:
    """Evaluate the probe along every path; each end is evaluated once.

    Raises:
        InputError: the loss on a path is not finite.
    """
    alphas = np.linspace(0, 1, bench.settings.connectivity.points)
    pairs = path_ends(bench.checkpoints)
    ends = {name: bench.losses_at({name: 1.0}) for name in dict.fromkeys(name for pair in pairs for name in pair)}
    sums = np.stack(
        [
            [
                ends[first],
                *(bench.losses_at({first: 1 - alpha, second: alpha}) for alpha in alphas[1:-1].tolist()),
                ends[second],
            ]
            for first, second in pairs
        ]
    )
    paths = tuple(_path(pair, own, bench.resamples) for pair, own in zip(pairs, sums, strict=True))
    arrays = {"ends": np.array(pairs), "alphas": alphas, "losses": sums, "tokens": bench.probe.tokens}
    return Connectivity(paths=paths, cost=bench.meter.cost()), arrays


def _path(ends: tuple[str, str], sums: NDArray[np.float64], resamples: Resamples) -> LinearPath:
    values, draws = excess(resamples.mean(sums)[:, None]), excess(resamples.means(sums))
    return LinearPath(
        ends=ends,
        losses=tuple(resamples.mean(sums)),
        excess=tuple(interval_of(value[0], drawn) for value, drawn in zip(values, draws, strict=True)),
        barrier=interval_of(values.max(), draws.max(axis=0)),
        dip=resamples.interval(sums, dip),
    )


def excess(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Loss over the chord between the ends, of paths with losses [points, n]: float64 [points, n].

    >>> excess(np.array([[1.0], [2.5], [2.0]]))[:, 0].tolist()
    [0.0, 1.0, 0.0]
    """
    alphas = np.linspace(0, 1, len(losses))[:, None]
    return losses - ((1 - alphas) * losses[0] + alphas * losses[-1])


def dip(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the ends minus the midpoint, of paths with losses [points, n], points odd: float64 [n].

    >>> dip(np.array([[1.0], [0.5], [2.0]])).tolist()
    [1.0]
    """
    return (losses[0] + losses[-1]) / 2 - losses[len(losses) // 2]
