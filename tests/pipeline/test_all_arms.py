"""The recipe ``all-arms``: that it holds every kind of arm and every operator, and what they make of a tiny model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from training.__main__ import app
from training.arms.arm import Arm, Shares, Soup, Whole
from training.arms.names import parse_arms
from training.config import load_recipe
from training.conflicts.partition_rules import PartitionRule
from training.merge.registry import OPERATORS
from training.run_directory import RunDirectory

TINY = {
    "start.model": "tiny-llama",
    "mixture.train": 12,
    "mixture.primer": 4,
    "mixture.calibration": 6,
    "mixture.validation": 4,
    "mixture.test": 6,
    "branch.batch_size": 4,
    "branch.learning_rate": 1e-3,
    "conflicts.sketch_size": 4096,
    "conflicts.group_sketch_size": 256,
    "conflicts.micro_batch_examples": 2,
    "partition.resamples": 20,
    "evaluation.generate": 1,
    "evaluation.retention": 2,
    "evaluation.retention_tokens": 8,
    "evaluation.bootstrap": 200,
}


@pytest.fixture(scope="module")
def arms() -> dict[str, Arm]:
    return {arm.name: arm for arm in parse_arms(load_recipe("all-arms", []))}


def test_the_recipe_has_every_operator_and_every_kind_of_arm(arms: Mapping[str, Arm]) -> None:
    assert {arm.operator.name for arm in arms.values()} == OPERATORS.keys()
    assert {arm.untrained for arm in arms.values()} == {"base", "start", None}
    assert {arm.weights for arm in arms.values()} == {"tokens", "uniform", "fitted"}
    kinds = {arm.rule.kind for arm in arms.values() if arm.rule}
    assert kinds == {*PartitionRule.__annotations__["kind"].__args__} - {"given"}
    trained = [arm.branches for arm in arms.values() if not arm.untrained]
    assert {type(branches) for branches in trained} == {Whole, PartitionRule, Shares, Soup}
    assert {branches.split for branches in trained if isinstance(branches, Soup)} == {False, True}
    assert any(isinstance(branches, Whole) and branches.strata for branches in trained)
    for name in arms:
        assert name.partition("@")[0] in arms, "what is scaled stands beside it"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    out = tmp_path_factory.mktemp("all") / "run"
    settings = [f"--set={key}={json.dumps(value)}" for key, value in TINY.items()]
    result = CliRunner().invoke(app, ["run", "all-arms", "--out", str(out), *settings])
    assert result.exit_code == 0, result.output
    return RunDirectory(out)


def weights(folder: Path) -> np.ndarray:
    """All parameters as one vector, in the order of their names."""
    tensors = load_file(folder / "model.safetensors")
    return np.concatenate([tensors[name].ravel().astype(np.float64) for name in sorted(tensors)])


def record(run: RunDirectory, arm: str) -> dict[str, Any]:
    return json.loads((run.arm(arm) / "arm.json").read_text())


@pytest.mark.slow
def test_every_arm_is_in_the_table_with_a_finite_loss(run: RunDirectory, arms: Mapping[str, Arm]) -> None:
    rows = {row["arm"]: row for row in json.loads(run.summary(".json").read_text())["arms"]}
    assert list(rows) == list(arms)
    assert all(np.isfinite(row["loss"]["value"]) for row in rows.values())
    models = {name: record(run, name)["sha256"] for name, arm in arms.items() if not arm.untrained}
    by_branches = {"merit-2d": [name for name in models if arms[name].branches_name == "merit-2d"]}
    assert len({models[name] for name in by_branches["merit-2d"]}) == len(by_branches["merit-2d"])


@pytest.mark.slow
def test_arms_that_merge_otherwise_share_the_branches_and_train_none(
    run: RunDirectory, arms: Mapping[str, Arm]
) -> None:
    used = {name: record(run, name)["branches"] for name, arm in arms.items() if not arm.untrained}
    for name, branches in used.items():
        assert branches == used[arms[name].branches_name]
    trained = {folder.name for folder in (run.root / "branches").iterdir()}
    assert len(trained - {branch for branches in used.values() for branch in branches}) == 1  # the primer
    kept = {
        folder.name for folder in (run.root / "branches").iterdir() if (folder / "second_moments.safetensors").exists()
    }
    assert kept == set(used["merit-2d"])


@pytest.mark.slow
def test_a_scaled_arm_lies_on_the_line_from_the_start_through_what_it_scales(
    run: RunDirectory, arms: Mapping[str, Arm]
) -> None:
    start = weights(run.start)
    scaled = {name: arm for name, arm in arms.items() if arm.scale is not None}
    assert len(scaled) >= 4
    for name, arm in scaled.items():
        own, whole = weights(run.arm(name) / "model"), weights(run.arm(arm.merged_name) / "model")
        scale = record(run, name)["settings"]["scale"]
        np.testing.assert_allclose(own, start + scale * (whole - start), rtol=0, atol=1e-6)
        fit = json.loads(run.fit(name).read_text())
        assert fit["coefficients"] == [scale]
        assert fit["validation_loss"] <= fit["path"][0]["loss"]


@pytest.mark.slow
def test_the_displacement_in_the_table_is_that_of_the_model(run: RunDirectory) -> None:
    start = weights(run.start)
    for row in json.loads(run.summary(".json").read_text())["arms"]:
        if row["displacement"] is not None:
            moved = float(np.linalg.norm(weights(run.arm(row["arm"]) / "model") - start))
            assert row["displacement"] == pytest.approx(moved, rel=1e-9)


@pytest.mark.slow
def test_the_same_command_again_makes_nothing_anew(run: RunDirectory) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.root.rglob("model.safetensors")}
    settings = [f"--set={key}={json.dumps(value)}" for key, value in TINY.items()]
    result = CliRunner().invoke(app, ["run", "all-arms", "--out", str(run.root), *settings])
    assert result.exit_code == 0, result.output
    assert {path: path.stat().st_mtime_ns for path in run.root.rglob("model.safetensors")} == before
