"""How far a branch's steps reached, which is what its drift is multiplied by; the pass itself is in test_theorem_a."""

import json
from pathlib import Path

import pytest

from tests.training.branch_specs import make_spec
from training.config import BranchSettings
from training.drift import half_travel
from training.run_directory import BranchDirectory


def branch(folder: Path, *steps: tuple[float, float]) -> BranchDirectory:
    lines = [json.dumps({"learning_rate": rate, "gradient_norm": norm}) for rate, norm in steps]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return BranchDirectory(folder)


def settings(**values: object) -> BranchSettings:
    return BranchSettings.model_validate({"optimizer": "sgd", "clip_norm": "off", **values})


def test_with_equal_steps_it_is_half_the_rate_times_the_steps_but_one(tmp_path: Path) -> None:
    spec = make_spec(settings=settings())
    assert half_travel(branch(tmp_path, *[(0.1, 3.0)] * 7), spec) == pytest.approx(0.5 * 0.1 * 6)


def test_one_step_has_no_drift(tmp_path: Path) -> None:
    assert half_travel(branch(tmp_path, (0.1, 3.0)), make_spec(settings=settings())) == pytest.approx(0, abs=1e-15)


def test_a_clipped_step_counts_as_far_as_it_went(tmp_path: Path) -> None:
    clipped = branch(tmp_path, (0.1, 4.0), (0.1, 0.5), (0.1, 8.0))
    sizes = [0.1 / 4, 0.1, 0.1 / 8]
    by_hand = 0.5 * (sum(sizes) - sum(size**2 for size in sizes) / sum(sizes))
    assert half_travel(clipped, make_spec(settings=settings(clip_norm=1.0))) == pytest.approx(by_hand)


def test_momentum_carries_every_step_further(tmp_path: Path) -> None:
    steps = branch(tmp_path, *[(0.1, 1.0)] * 4)
    plain, heavy = (half_travel(steps, make_spec(settings=settings(momentum=value))) for value in (0.0, 0.75))
    assert heavy == pytest.approx(4 * plain)
