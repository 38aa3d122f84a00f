"""How close combinations of the tasks' gradients come to an eigenspace, beside what chance would give.

Pure NumPy on small matrices: gradients enter by their inner products with each other and with the eigenvectors, so that
thousands of combinations cost nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diagnostics.alignment_nulls import Chance, Floats, Statistic, permuted_coefficients, random_coefficients
from merit_theory.conflict import Centre, centred, cosine_from_gram, principal_axes

RANK_ROUNDING = 1e-12
"""Share of the largest variance below which a direction is not there."""


@dataclass(frozen=True, slots=True, eq=False)
class InnerProducts:
    """Vectors of a model's size, known by inner products alone.

    Attributes:
        gram: float64 [n, n], with each other.
        dots: float64 [n, l], with the l orthonormal eigenvectors.
    """

    gram: Floats
    dots: Floats

    def mixed(self, weights: Floats) -> "InnerProducts":
        """The m combinations with ``weights`` [m, n]."""
        return InnerProducts(weights @ self.gram @ weights.T, weights @ self.dots)

    def half(self, number: int) -> "InnerProducts":
        """Every second vector from ``number`` (0 or 1) on: the tasks' gradients on one half of their examples."""
        return InnerProducts(self.gram[number::2, number::2], self.dots[number::2])

    @property
    def norms(self) -> Floats:
        """Of each vector: float64 [n]."""
        return np.sqrt(np.diagonal(self.gram))

    @property
    def eigenspace_cosines(self) -> Floats:
        """Cosine of each vector's angle to the eigenspace: float64 [n]."""
        return np.minimum(np.linalg.norm(self.dots, axis=1) / self.norms, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Closeness:
    """How close k directions are to the eigenspace; leading dimensions are draws.

    Attributes:
        eigenspace: float64 [..., k], cosine of each direction's angle to the eigenspace, the root of the share of its
            squared norm that lies there.
        nearest: float64 [..., k], largest |cosine| of each direction with one eigenvector.
        leading: float64 [...], cosine of the smallest angle between the span of the directions and the eigenspace.
    """

    eigenspace: Floats
    nearest: Floats
    leading: Floats

    @property
    def largest(self) -> Floats:
        """The largest of ``nearest``: float64 [...]."""
        return self.nearest.max(axis=-1)

    @property
    def mean_nearest(self) -> Floats:
        """The mean of ``nearest``: float64 [...]."""
        return self.nearest.mean(axis=-1)


def closeness(vectors: InnerProducts, coefficients: Floats) -> Closeness:
    """Of the combinations of ``vectors`` with ``coefficients`` [..., k, n]; every one must differ from zero."""
    inner = coefficients @ vectors.gram @ np.swapaxes(coefficients, -1, -2)
    lengths = np.sqrt(np.diagonal(inner, axis1=-2, axis2=-1))
    cosines = coefficients @ vectors.dots / lengths[..., None]
    return Closeness(
        eigenspace=np.minimum(np.linalg.norm(cosines, axis=-1), 1.0),
        nearest=np.minimum(np.abs(cosines).max(axis=-1), 1.0),
        leading=_leading_cosine(inner / (lengths[..., None] * lengths[..., None, :]), cosines),
    )


def _leading_cosine(inner: Floats, cosines: Floats) -> Floats:
    """Of unit directions with products ``inner`` [..., k, k], at ``cosines`` [..., k, l] with an orthonormal basis."""
    variances, axes = np.linalg.eigh(inner)
    there = variances > RANK_ROUNDING * variances[..., -1:]
    scales = np.where(there, 1 / np.sqrt(np.where(there, variances, 1.0)), 0.0)
    orthonormal = np.swapaxes(axes * scales[..., None, :], -1, -2) @ cosines
    return np.minimum(np.linalg.norm(orthonormal, ord=2, axis=(-2, -1)), 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class ConflictFrame:
    """Leading conflict directions of tasks, as combinations of their gradients.

    Attributes:
        centre: ``none``: eigenvectors of the Gram matrix, which combine the gradients as they are. ``double``: of the
            double-centred cosine matrix, which combine gradients of unit length, with coefficients that sum to zero.
        coefficients: float64 [k, n], orthonormal rows, in descending order of eigenvalue.
        explained: float64 [k], share of the (centred) matrix's trace on each.
    """

    centre: Centre
    coefficients: Floats
    explained: Floats

    @classmethod
    def of(cls, gram: Floats, most: int, centre: Centre) -> "ConflictFrame":
        """At most ``most`` directions of gradients with inner products ``gram`` [n, n], none of them zero."""
        matrix = gram if centre == "none" else cosine_from_gram(gram)
        axes = principal_axes(matrix, min(most, len(matrix)), centre=centre)
        lengths = np.linalg.norm(axes.coordinates, axis=0)
        there = lengths > 0
        coefficients = (axes.coordinates[:, there] / lengths[there]).T
        return cls(centre, coefficients, axes.eigenvalues[there] / np.trace(centred(matrix, centre)))

    def first(self, count: int) -> "ConflictFrame":
        """Its ``count`` leading directions."""
        return ConflictFrame(self.centre, self.coefficients[:count], self.explained[:count])

    def combined(self, gradients: InnerProducts) -> InnerProducts:
        """What the coefficients combine: the gradients, or the same at unit length."""
        return gradients if self.centre == "none" else gradients.mixed(np.diag(1 / gradients.norms))

    def lifts(self, gram: Floats) -> Floats:
        """Coefficients [k, n] that make unit directions of the gradients with inner products ``gram`` [n, n]."""
        scales = np.ones(len(gram)) if self.centre == "none" else 1 / np.sqrt(np.diagonal(gram))
        lifts = self.coefficients * scales
        return lifts / np.sqrt(np.einsum("kn,nm,km->k", lifts, gram, lifts))[:, None]


def conflict_frames(gram: Floats, whole: Floats, most: int, centre: Centre) -> tuple[ConflictFrame, ...]:
    """Frames of equally many directions: of all examples, and of either half of them.

    Args:
        gram: float64 [2n, 2n], inner products of the halves' gradients, a task's two one after the other.
        whole: float64 [n, 2n], makes each task's gradient of those of its halves.
        most: directions at most; no frame has more than the poorest of the three.
        centre: of the matrix between tasks.
    """
    grams = (whole @ gram @ whole.T, gram[0::2, 0::2], gram[1::2, 1::2])
    frames = [ConflictFrame.of(own, most, centre) for own in grams]
    count = min(len(frame.coefficients) for frame in frames)
    return tuple(frame.first(count) for frame in frames)


@dataclass(frozen=True, slots=True, eq=False)
class PlacedFrame:
    """A frame's statistics beside chance.

    Attributes:
        eigenspace: of each direction, its cosine with the eigenspace.
        nearest: of each direction, its largest |cosine| with one eigenvector.
        eigenvectors: positions of those.
        largest: the largest of ``nearest``.
        mean_nearest: their mean.
        leading: cosine of the smallest angle between the frame's span and the eigenspace.
        half_cosines: float64 [k], between the directions that the same coefficients make of either half.
        corrected: float64 [k], ``eigenspace`` without what noise takes from it; NaN where the halves disagree.
    """

    eigenspace: tuple[Statistic, ...]
    nearest: tuple[Statistic, ...]
    eigenvectors: tuple[int, ...]
    largest: Statistic
    mean_nearest: Statistic
    leading: Statistic
    half_cosines: Floats
    corrected: Floats


def placed(
    frames: tuple[ConflictFrame, ...],
    gradients: InnerProducts,
    whole: Floats,
    draws: int,
    generator: np.random.Generator,
) -> PlacedFrame:
    """Place a frame beside ``draws`` random combinations and as many permutations.

    Args:
        frames: from :func:`conflict_frames`.
        gradients: those of the halves, a task's two one after the other: 2n of them.
        whole: float64 [n, 2n], makes each task's gradient of those of its halves.
        draws: of each kind of chance.
        generator: of the draws.
    """
    frame, *half_frames = frames
    tasks = gradients.mixed(whole)
    count = len(frame.coefficients)
    vectors = frame.combined(tasks)
    observed = closeness(vectors, frame.coefficients)
    random = random_coefficients(len(whole), count, frame.centre, draws, generator)
    permuted = permuted_coefficients(frame.coefficients, draws, generator)
    chances = closeness(vectors, random), closeness(vectors, permuted)
    halves = [
        closeness(half.combined(gradients.half(number)), half.coefficients) for number, half in enumerate(half_frames)
    ]

    def statistic(of: Callable[[Closeness], Floats]) -> Statistic:
        value = float(of(observed))
        span, permutation = (Chance.of(value, of(chance)) for chance in chances)
        first, second = (float(of(half)) for half in halves)
        return Statistic(value=value, halves=(first, second), span=span, permutation=permutation)

    cosines = frame.coefficients @ vectors.dots
    lifts = frame.lifts(tasks.gram)
    noise = between_halves(gradients, lifts)
    return PlacedFrame(
        eigenspace=tuple(statistic(lambda found, k=k: found.eigenspace[..., k]) for k in range(count)),
        nearest=tuple(statistic(lambda found, k=k: found.nearest[..., k]) for k in range(count)),
        eigenvectors=tuple(np.abs(cosines).argmax(axis=1).tolist()),
        largest=statistic(lambda found: found.largest),
        mean_nearest=statistic(lambda found: found.mean_nearest),
        leading=statistic(lambda found: found.leading),
        half_cosines=noise[0],
        corrected=noise[1],
    )


def between_halves(gradients: InnerProducts, coefficients: Floats) -> tuple[Floats, Floats]:
    r"""What sampling noise does to each direction, from gradients of two disjoint halves of the examples.

    Noise adds to a direction's norm and hardly to its part in the eigenspace, so that its cosine comes out too small.
    Noise of the halves is independent: $u_1^\top u_2$ estimates the noise-free squared norm, and $u_1^\top P u_2$ the
    noise-free part of it in the eigenspace. The coefficients are taken as given, though they come from the same data.

    Args:
        gradients: 2n, a task's two halves one after the other.
        coefficients: float64 [k, n], of the tasks' gradients.

    Returns:
        Two arrays float64 [k]: the cosine of each direction between the halves, and its cosine with the eigenspace
        corrected for noise, which is NaN where the halves do not agree at all, in norm or within the eigenspace.
    """
    cross = gradients.gram[0::2, 1::2]
    both = np.einsum("kn,nm,km->k", coefficients, cross, coefficients)
    squares, inside = [], []
    for number in (0, 1):
        half = gradients.half(number)
        squares.append(np.einsum("kn,nm,km->k", coefficients, half.gram, coefficients))
        inside.append(coefficients @ half.dots)
    common = np.einsum("kl,kl->k", *inside)
    measurable = (both > 0) & (common > 0)
    share = np.divide(common, both, out=np.full_like(both, np.nan), where=measurable)
    return both / np.sqrt(squares[0] * squares[1]), np.sqrt(np.minimum(share, 1.0))


def outermost_tasks(cosine: Floats, most: int) -> tuple[int, ...]:
    """The tasks a Hessian speaks for: in each quadrant of the embedding, the one farthest from the origin (F.3).

    The embedding is along the first two principal axes of the double-centred matrix. Quadrants may be empty.

    Args:
        cosine: float64 [n, n] between tasks, n ≥ 2.
        most: how many at most; the farthest are taken.

    Returns:
        Positions, ascending.
    """
    places = principal_axes(cosine, 2, centre="double").coordinates
    radii = np.linalg.norm(places, axis=1)
    quadrants = 2 * (places[:, 0] >= 0) + (places[:, 1] >= 0)
    outer = [max(np.flatnonzero(quadrants == quadrant), key=lambda task: radii[task]) for quadrant in set(quadrants)]
    return tuple(sorted(int(task) for task in sorted(outer, key=lambda task: -radii[task])[:most]))
