from itertools import combinations

import numpy as np
import pytest

from figures.label_placement import place_labels


def crowd(n: int, area: tuple[float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    return (
        rng.uniform(0.1, 0.9, (n, 2)) * area,
        rng.uniform(2, 6, n),
        np.column_stack([rng.uniform(10, 60, n), np.full(n, 8)]),
    )


@pytest.mark.parametrize("n", [1, 10, 60, 200])
def test_labels_stay_inside_and_meet_no_point_and_no_other_label(n: int) -> None:
    area = (360.0, 300.0)
    points, radii, sizes = crowd(n, area)
    places = place_labels(points, radii, sizes, area)
    boxes = [(np.array(p.centre) - s / 2, np.array(p.centre) + s / 2) for p, s in zip(places, sizes, strict=True) if p]
    assert boxes
    for low, high in boxes:
        assert (low >= 0).all()
        assert (high <= area).all()
        assert not ((low < points + radii[:, None]) & (high > points - radii[:, None])).all(axis=1).any()
    for (low, high), (other_low, other_high) in combinations(boxes, 2):
        assert not ((low < other_high) & (high > other_low)).all()


def test_a_leader_joins_the_edge_of_the_mark_to_its_label() -> None:
    area = (360.0, 300.0)
    points, radii, sizes = crowd(60, area)
    led = 0
    for point, radius, size, place in zip(points, radii, sizes, place_labels(points, radii, sizes, area), strict=True):
        if place and place.leader:
            start, end = map(np.array, place.leader)
            assert np.linalg.norm(start - point) == pytest.approx(radius)
            assert (np.abs(end - place.centre) <= size / 2 + 1e-9).all()
            led += 1
    assert led > 0


def test_a_label_without_room_is_left_out() -> None:
    places = place_labels(np.array([[20.0, 10.0]]), np.array([2.0]), np.array([[100.0, 6.0]]), (40.0, 20.0))
    assert places == [None]
