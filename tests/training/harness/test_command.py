"""What the command refuses before anything runs, without lm-eval, and how its files are kept."""

import importlib.util
from pathlib import Path

import pytest
from rich.console import Console

from training.config import Recipe
from training.errors import InputError
from training.harness.command import Asked, _chosen, run_harness
from training.harness.measure import Metric, load_metrics, save_metrics
from training.model.embedded import write_tiny_llama
from training.run_directory import RunDirectory, write_json, write_text


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run with an untouched model and two arms, of which the recipe names one."""
    directory = RunDirectory(tmp_path / "run")
    recipe = Recipe.model_validate({"mixture": {"tasks": ["x"]}, "arms": ["base", "joint", "merit-1d"]})
    write_text(directory.config, recipe.to_toml())
    write_tiny_llama(directory.base)
    for arm in ("another", "joint"):
        write_json(directory.arm(arm) / "arm.json", {})
    return directory


def asked(**changes: object) -> Asked:
    values = {
        "tasks": ["sums"],
        "arms": [],
        "limit": None,
        "batch_size": 2,
        "include_path": None,
        "chat_template": False,
    }
    return Asked(**(values | changes))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no run directory: it has no config\.toml; give one that"):
        run_harness(tmp_path, asked(), Console())


def test_an_arm_without_a_model_is_refused_with_those_that_have_one(run: RunDirectory) -> None:
    with pytest.raises(InputError, match=r"has no arm 'merit-1d'; it has base, joint, another$"):
        run_harness(run.root, asked(arms=["joint", "merit-1d"]), Console())


def test_the_recipes_arms_are_taken_and_others_when_they_are_named(run: RunDirectory) -> None:
    listed = ["joint", "merit-1d"]
    assert list(_chosen(run, listed, [])) == ["joint"]
    assert _chosen(run, listed, ["another", "base"]) == {"base": run.base, "another": run.arm("another") / "model"}
    with pytest.raises(InputError, match="has no model of its recipe's arms yet"):
        _chosen(run, ["merit-1d"], [])


def test_no_task_is_refused(run: RunDirectory) -> None:
    with pytest.raises(InputError, match=r"--tasks is empty; name tasks of lm-eval"):
        run_harness(run.root, asked(tasks=[]), Console())


def test_a_folder_of_tasks_that_is_none_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--include-path \S+nowhere is no folder; give the one that holds"):
        run_harness(run.root, asked(include_path=tmp_path / "nowhere"), Console())


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm-eval is installed")
def test_without_lm_eval_the_extra_is_named(run: RunDirectory) -> None:
    with pytest.raises(InputError, match=r"^the harness needs lm-eval; pip install 'merit-lab\[harness\]'$"):
        run_harness(run.root, asked(), Console())


def test_what_stands_is_read_back_under_its_key_and_not_when_damaged(run: RunDirectory) -> None:
    path = run.harness("joint", "mmlu/law: part?")
    metrics = {"acc,none": Metric(0.5, True, (0, 3), (0.0, 1.0)), "ppl,none": Metric(9.0, None, (0,), None)}
    save_metrics(path, "key", metrics)
    assert path.parent == run.harness("joint", "other").parent
    assert load_metrics(path, "key") == metrics
    assert load_metrics(path, "another key") is None
    path.write_text(path.read_text().replace("0.5", "0.6"))
    assert load_metrics(path, "key") is None
    path.write_text(path.read_text()[:40])
    assert load_metrics(path, "key") is None
    assert load_metrics(run.harness("joint", "other"), "key") is None
