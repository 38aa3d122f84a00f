"""Descent on a slack from many starts."""

import numpy as np

from merit_theory.adversary import LARGEST_STEP, STEPS, descend


def bowl(batch: dict) -> tuple[np.ndarray, dict]:
    x = batch["x"]
    return ((x - 2.0) ** 2).sum(axis=1), {"x": 2 * (x - 2.0), "kind": np.zeros(batch["kind"].shape)}


def test_every_start_reaches_the_minimum_however_steep_the_slope() -> None:
    start = {"x": np.array([[0.0, 0.0], [4.5, -0.5], [2.0, 2.0]]), "kind": np.arange(3)}
    for scale in (1e-12, 1.0, 1e12):
        lowest, where = descend(
            lambda batch, s=scale: (s * bowl(batch)[0], {k: s * g for k, g in bowl(batch)[1].items()}), start
        )
        assert (lowest <= 1e-2 * scale).all()
        np.testing.assert_allclose(where["x"], 2.0, atol=0.1)


def test_what_is_returned_was_met_on_the_way_and_integers_never_move() -> None:
    start = {"x": np.array([[2.01, 2.0]]), "kind": np.array([7])}
    lowest, where = descend(bowl, start)
    assert lowest[0] == bowl(where)[0][0] <= bowl(start)[0][0]
    assert where["kind"].tolist() == [7]
    assert where["kind"].dtype == start["kind"].dtype


def test_an_undefined_gradient_does_not_stop_the_other_rows() -> None:
    def broken(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert np.isfinite(x).all()
        slope = np.where(np.arange(len(x))[:, None] == 0, np.nan, 2 * (x - 1))
        return ((x - 1) ** 2).sum(axis=1), slope

    lowest, _ = descend(broken, np.zeros((2, 1)))
    assert lowest[0] == 1.0
    assert lowest[1] < 1e-2


def test_no_number_moves_farther_than_the_steps_allow() -> None:
    reach = np.geomspace(LARGEST_STEP, LARGEST_STEP / 300, STEPS).sum()
    _, where = descend(lambda x: (x.sum(axis=1), np.ones_like(x)), np.zeros((1, 3)))
    assert (np.abs(where) <= reach).all()
