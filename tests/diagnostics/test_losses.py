"""The triple is the closed form's, and gains are paired."""

from pathlib import Path

import numpy as np
import pytest

from diagnostics import losses
from diagnostics.losses import Losses
from tests.diagnostics.linear_head import (
    HEAD,
    answers,
    bench_of,
    head_losses,
    network_of,
    probe,
    random_head,
    stored,
    write_checkpoints,
)
from training.errors import InputError


def test_every_model_has_the_loss_of_its_own_weights(tmp_path: Path) -> None:
    checkpoints = write_checkpoints(tmp_path, {"joint": random_head(5), "joint-equal-steps": random_head(6)})
    with network_of(checkpoints) as network:
        result, arrays = losses.measure(bench_of(checkpoints, network, {}))
        pairs = answers(network)
    tokens, task = probe().tokens, probe().task
    for number, (name, folder) in enumerate(checkpoints.folders.items()):
        own = head_losses(pairs, stored(folder)[HEAD])
        assert arrays["losses"][number] == pytest.approx(own)
        entry = result.of(name)
        assert entry.loss.value == pytest.approx(own.sum() / tokens.sum())
        by_task = [own[task == t].sum() / tokens[task == t].sum() for t in range(2)]
        assert entry.tasks == pytest.approx(by_task)
        assert entry.macro_loss.value == pytest.approx(np.mean(by_task))
        assert entry.loss.low < entry.loss.value < entry.loss.high
        assert entry.macro_loss.low < entry.macro_loss.value < entry.macro_loss.high
    branches = [result.of(name).loss.value for name in checkpoints.branch_names]
    assert result.branch_average.value == pytest.approx(np.mean(branches))
    assert result.gain.value == pytest.approx(np.mean(branches) - result.of("merged").loss.value)
    assert result.merged_minus["joint"].value == pytest.approx(
        result.of("merged").loss.value - result.of("joint").loss.value
    )
    assert set(result.merged_minus) == set(result.macro_merged_minus) == set(checkpoints.folders) - {"merged"}
    assert Losses.model_validate(result.model_dump(mode="json")) == result


def test_a_model_compared_with_itself_has_a_difference_of_nothing(tmp_path: Path) -> None:
    twin = random_head(5)
    checkpoints = write_checkpoints(tmp_path, {"joint": twin, "merged": twin})
    with network_of(checkpoints) as network:
        result, _ = losses.measure(bench_of(checkpoints, network, {}))
    same = result.merged_minus["joint"]
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert not result.merged_minus["start"].low <= 0 <= result.merged_minus["start"].high


def test_a_loss_that_is_not_finite_names_its_model(tmp_path: Path) -> None:
    checkpoints = write_checkpoints(tmp_path, {"joint": random_head(5, 1e30)})
    with network_of(checkpoints, "float32") as network, pytest.raises(InputError, match="joint is not finite"):
        losses.measure(bench_of(checkpoints, network, {}))
