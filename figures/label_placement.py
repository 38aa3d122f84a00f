"""Labels beside their points, overlapping nothing.

Greedy: every label first tries the places that touch its point, then places further out joined by a thin leader, and
takes the first that covers no point, no other label and no leader. The outermost points choose first, because they have
the room and the most to say. A label without such a place is left out: a name nobody can read is worse than none.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GAPS = (1.5, 5.0, 10.0, 16.0, 24.0, 34.0, 46.0)
ANGLES = np.radians([0, 180, 90, 270, 35, 145, 215, 325, 60, 120, 240, 300])
LONGEST_GAP_WITHOUT_LEADER = 1.5
RIM = 3.0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a label goes: its centre, and the two ends of its leader if it stands off its point."""

    centre: tuple[float, float]
    leader: tuple[tuple[float, float], tuple[float, float]] | None


def place_labels(
    points: NDArray[np.float64],
    radii: NDArray[np.float64],
    sizes: NDArray[np.float64],
    area: tuple[float, float],
) -> list[Placement | None]:
    """Find a place for every label, all lengths in one unit such as typographic points.

    Args:
        points: float [n, 2], from the lower left corner of the area.
        radii: float [n], of the marks at the points.
        sizes: float [n, 2], width and height of the labels.
        area: width and height that labels stay inside, off the rim.

    Returns:
        A place for each label, None where there is no room.

    >>> place_labels(np.array([[10.0, 10.0]]), np.array([2.0]), np.array([[20.0, 6.0]]), (100.0, 20.0))
    [Placement(centre=(23.5, 10.0), leader=None)]
    """
    obstacles = [np.concatenate([points - radii[:, None], points + radii[:, None]], axis=1)]
    places: list[Placement | None] = [None] * len(points)
    outermost_first = np.argsort(-np.linalg.norm(points - points.mean(axis=0), axis=1), kind="stable")
    for gap in GAPS:
        for index in outermost_first:
            if places[index] is not None:
                continue
            found = _first_free(points[index], radii[index] + gap, sizes[index], np.concatenate(obstacles), area, gap)
            if found is not None:
                places[index], covered = found
                obstacles.append(covered)
    return places


def _first_free(
    point: NDArray[np.float64],
    distance: float,
    size: NDArray[np.float64],
    obstacles: NDArray[np.float64],
    area: tuple[float, float],
    gap: float,
) -> tuple[Placement, NDArray[np.float64]] | None:
    """The first free place at this distance with the boxes [m, 4] it covers, its leader as a chain of small ones."""
    for angle in ANGLES:
        direction = np.array([np.cos(angle), np.sin(angle)])
        anchor = point + distance * direction
        centre = anchor + np.clip(1.5 * direction, -1, 1) * size / 2
        covered = np.concatenate([centre - size / 2, centre + size / 2])[None, :]
        if (covered[0, :2] < RIM).any() or (covered[0, 2:] > np.array(area) - RIM).any():
            continue
        leader = None
        if gap > LONGEST_GAP_WITHOUT_LEADER:
            start = anchor - gap * direction
            chain = start + np.linspace(0.1, 0.9, 8)[:, None] * (anchor - start)
            covered = np.concatenate([covered, np.concatenate([chain - 0.4, chain + 0.4], axis=1)])
            leader = ((float(start[0]), float(start[1])), (float(anchor[0]), float(anchor[1])))
        if not _overlap(covered, obstacles):
            return Placement((float(centre[0]), float(centre[1])), leader), covered
    return None


def _overlap(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Whether any of ``boxes`` meets any of ``others``; rows are left, bottom, right, top."""
    meets = (boxes[:, None, :2] < others[None, :, 2:]).all(axis=2) & (boxes[:, None, 2:] > others[None, :, :2]).all(
        axis=2
    )
    return bool(meets.any())
