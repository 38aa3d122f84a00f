"""Planes through weight space on which a loss surface is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
import torch
from numpy.typing import NDArray

from training.errors import InputError
from training.model.network import Network

CHUNK = 2**16
"""Entries of each displacement that are cast to float64 at a time; all of them together stay in the cache."""

FLATTEST = 1e-6
"""Ratio of the two principal lengths below which displacements lie on a line as far as float32 can tell."""


@dataclass(frozen=True, slots=True)
class PrincipalPlane:
    r"""The plane through the start that holds most of the checkpoints' displacements.

    With displacements $\delta_k = \theta_k - \theta^0$ and their Gram matrix $G = V \Lambda V^\top$, the axes are
    $u_j = \sum_k V_{kj} \delta_k / \sqrt{\lambda_j}$ for the two largest $\lambda_j$: orthonormal, not centred, and
    combinations of checkpoints, so that every point of the plane is one too.

    Attributes:
        names: of the checkpoints, without the start.
        coordinates: float64 [checkpoints, 2], where each one's projection lies, in units of the weights.
        inside: float64 [checkpoints], share of each one's squared displacement that lies in the plane.
        explained: float64 [2], share of all squared displacements along each axis.
        axes: float64 [checkpoints, 2], coefficients of the displacements in each axis.
    """

    names: tuple[str, ...]
    coordinates: NDArray[np.float64]
    inside: NDArray[np.float64]
    explained: NDArray[np.float64]
    axes: NDArray[np.float64]

    @classmethod
    def of(cls, names: Sequence[str], gram: NDArray[np.float64]) -> "PrincipalPlane":
        """The plane of checkpoints whose displacements from the start have this Gram matrix [checkpoints, checkpoints].

        The sign of an axis is that which makes its largest coordinate positive.

        Raises:
            InputError: the displacements lie on a line.

        >>> plane = PrincipalPlane.of(["a", "b"], np.array([[4.0, 0.0], [0.0, 1.0]]))
        >>> plane.coordinates.tolist(), plane.point(1.0, 1.0)
        ([[2.0, 0.0], [0.0, 1.0]], {'start': -0.5, 'a': 0.5, 'b': 1.0})
        """
        values, vectors = np.linalg.eigh(gram)
        lengths, vectors = np.sqrt(np.maximum(values[:-3:-1], 0)), vectors[:, :-3:-1]
        if len(names) < 2 or not lengths[1] > FLATTEST * lengths[0]:
            raise InputError(
                "the checkpoints lie on one line through the start and span no plane; leave it out with "
                """--set 'landscape.planes=["random"]'"""
            )
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), [0, 1]])
        coordinates = vectors * lengths
        squares = np.diag(gram)
        inside = np.divide((coordinates**2).sum(axis=1), squares, out=np.ones(len(names)), where=squares > 0)
        return cls(tuple(names), coordinates, inside, lengths**2 / squares.sum(), vectors / lengths)

    def point(self, x: float, y: float) -> dict[str, float]:
        """Coefficients of the checkpoints, with sum one, at coordinates ``(x, y)``."""
        factors = self.axes @ (x, y)
        return {"start": float(1 - factors.sum()), **dict(zip(self.names, factors.tolist(), strict=True))}


@torch.no_grad()
def displacement_gram(network: Network, names: Sequence[str]) -> NDArray[np.float64]:
    """Inner products [checkpoints, checkpoints] of the displacements from the start, summed in float64."""
    gram = torch.zeros(len(names), len(names), dtype=torch.float64, device=network.model.device)
    for tensors in zip(*(network.combination({name: 1.0, "start": -1.0}) for name in names), strict=True):
        for pieces in zip(*(tensor.view(-1).split(CHUNK) for _, tensor in tensors), strict=True):
            rows = torch.stack([piece.double() for piece in pieces])
            gram += rows @ rows.T
    return gram.cpu().numpy()


def grid(positions: NDArray[np.float64], points: int, margin: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates [points] along both axes of a square grid around ``positions`` [n, 2].

    Args:
        positions: what the grid covers.
        points: along each side.
        margin: left free on every side, as a share of the larger extent.
    """
    low, high = positions.min(axis=0), positions.max(axis=0)
    half = (0.5 + margin) * (high - low).max()
    first, second = ((low + high)[axis] / 2 + np.linspace(-half, half, points) for axis in (0, 1))
    return first, second


def lines_through_centre(points: int) -> list[list[tuple[int, int, float]]]:
    """The positions of a square grid, collected along straight lines through its centre, which is left out.

    Whoever makes noise at the outermost position of a line reaches the others on it by shrinking or mirroring it.

    Returns:
        Lines of ``(row, column, ratio)``: a position, and its distance from the centre over that of the position before
        it on the line, negative on the other side; the first, outermost one has ratio 1.

    >>> lines_through_centre(3)[0]
    [(0, 0, 1.0), (2, 2, -1.0)]
    """
    offsets = range(1 - points, points, 2)  # twice the distance from the centre, whole for odd and even numbers
    lines: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for row, up in enumerate(offsets):
        for column, across in enumerate(offsets):
            if multiple := gcd(up, across):
                if (up, across) < (0, 0):
                    multiple = -multiple
                lines.setdefault((up // multiple, across // multiple), []).append((row, column, multiple))
    result = []
    for members in lines.values():
        members.sort(key=lambda member: -abs(member[2]))
        before = [members[0], *members]
        result.append(
            [(row, column, own / last) for (row, column, own), (_, _, last) in zip(members, before[:-1], strict=True)]
        )
    return result
