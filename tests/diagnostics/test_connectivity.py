"""Barriers and dips of paths: against closed forms, and where a barrier is planted."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from diagnostics import connectivity
from diagnostics.checkpoints import Checkpoints
from diagnostics.connectivity import Connectivity, excess
from tests.diagnostics.linear_head import (
    HEAD,
    VOCABULARY,
    answers,
    bench_of,
    network_of,
    stored,
    write_checkpoints,
    write_model,
)


def measured(checkpoints: Checkpoints, points: int = 5, objective: str = "squared-error") -> Connectivity:
    with network_of(checkpoints) as network:
        bench = bench_of(checkpoints, network, {"connectivity": {"points": points}}, objective)
        result, arrays = connectivity.measure(bench)
    assert arrays["losses"].shape == (len(result.paths), points, len(bench.probe.examples))
    return result


def test_all_pairs_of_branches_then_every_branch_with_the_merge(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, (tmp_path,) * 3, (0.2, 0.3, 0.5), tmp_path)
    assert connectivity.path_ends(checkpoints) == [
        ("branch-1", "branch-2"),
        ("branch-1", "branch-3"),
        ("branch-2", "branch-3"),
        ("branch-1", "merged"),
        ("branch-2", "merged"),
        ("branch-3", "merged"),
    ]


def test_a_quadratic_loss_has_parabolas_without_barriers(tmp_path: Path) -> None:
    result = measured(write_checkpoints(tmp_path, {}))
    for path in result.paths:
        assert path.barrier.value == pytest.approx(0, abs=1e-12)
        second = np.diff(path.losses, 2)
        assert second == pytest.approx(second[0], rel=1e-6)
        # Second differences at steps of a quarter are dᵀHd/16; the dip is ⅛ of it.
        assert path.dip.value == pytest.approx(2 * second[0], rel=1e-6)
        assert path.dip.low > 0


def test_a_planted_barrier_is_found_with_its_height(tmp_path: Path) -> None:
    # Both signs of the last norm and the head give one function; half-way between them every logit is zero.
    start = write_checkpoints(tmp_path, {}).start
    with network_of(write_checkpoints(tmp_path / "other", {})) as network:
        network.move_to({"start": 1.0})
        hidden, targets = (torch.cat(parts) for parts in zip(*answers(network), strict=True))
    head = 8 * torch.linalg.lstsq(hidden, targets).solution.T.float()
    norm = stored(start)["model.norm.weight"]
    one, other = (
        write_model(start, tmp_path / f"sign{sign}", {HEAD: sign * head, "model.norm.weight": sign * norm})
        for sign in (1, -1)
    )
    result = measured(Checkpoints(start, (one, other), (0.5, 0.5), start), objective="cross-entropy")
    path = result.paths[0]
    assert path.losses[0] == pytest.approx(path.losses[-1])
    assert path.losses[2] == pytest.approx(math.log(VOCABULARY))
    assert path.barrier.value == pytest.approx(math.log(VOCABULARY) - path.losses[0])
    assert path.barrier.low > 0.1
    assert path.dip.value == pytest.approx(-path.barrier.value)
    assert result.worst == path


def test_excess_is_measured_from_the_chord() -> None:
    losses = np.array([[0.0, 2.0], [3.0, 1.0], [1.0, 0.0]])
    assert excess(losses).tolist() == [[0.0, 0.0], [2.5, 0.0], [0.0, 0.0]]


def test_intervals_cover_the_barrier_of_the_whole_path(tmp_path: Path) -> None:
    result = measured(write_checkpoints(tmp_path, {}), objective="cross-entropy")
    for path in result.paths:
        assert path.barrier.low <= path.barrier.value <= path.barrier.high
        assert path.excess[0].value == path.excess[-1].value == 0
        assert path.barrier.low >= 0


def test_a_result_survives_the_disk(tmp_path: Path) -> None:
    result = measured(write_checkpoints(tmp_path, {}))
    assert Connectivity.model_validate(result.model_dump(mode="json")) == result
