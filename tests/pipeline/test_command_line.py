"""The command line on the `smoke` recipe and on a user's own files, as a stranger would use it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.pipeline.refusals import training
from training.model.embedded import write_tiny_llama
from training.run_directory import folder_hash


def summary(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def test_the_table_has_every_arm_and_every_arm_spent_the_same_tokens(smoke_run: Path) -> None:
    rows = {row["arm"]: row for row in summary(smoke_run)["arms"]}
    trained = ["joint", "joint-equal-steps-2", "merit-1d", "merit-1d-uniform", "random-2"]
    assert list(rows) == ["base", "start", *trained]
    assert len({rows[arm]["tokens"] for arm in trained}) == 1
    assert rows["joint"]["tokens"] > rows["start"]["tokens"] > rows["base"]["tokens"] == 0
    page = (smoke_run / "summary.md").read_text()
    assert all(arm in page for arm in rows)


def test_arms_that_share_branches_train_them_once(smoke_run: Path) -> None:
    arms = [
        json.loads((smoke_run / "arms" / name / "arm.json").read_text()) for name in ("merit-1d", "merit-1d-uniform")
    ]
    assert arms[0]["branches"] == arms[1]["branches"]
    primer, joint, equal_steps, merit, random = 1, 1, 1, 2, 2
    assert len(list((smoke_run / "branches").iterdir())) <= primer + joint + equal_steps + merit + random


def test_joint_at_equal_steps_takes_the_steps_of_a_branch(smoke_run: Path) -> None:
    steps = {row["arm"]: row["steps"] for row in summary(smoke_run)["arms"]}
    assert steps["joint-equal-steps-2"] == steps["merit-1d"] == steps["joint"] / 2


def test_merged_weights_are_the_token_weighted_mean_of_the_branches(smoke_run: Path) -> None:
    arm = json.loads((smoke_run / "arms" / "merit-1d" / "arm.json").read_text())
    done = [json.loads((smoke_run / "branches" / name / "done.json").read_text()) for name in arm["branches"]]
    tokens = np.array([entry["tokens"] for entry in done])
    np.testing.assert_allclose(arm["weights"], tokens / tokens.sum(), rtol=1e-12)
    models = [AutoModelForCausalLM.from_pretrained(smoke_run / "branches" / name / "model") for name in arm["branches"]]
    merged = AutoModelForCausalLM.from_pretrained(smoke_run / "arms" / "merit-1d" / "model")
    for name, parameter in merged.named_parameters():
        parts = [dict(model.named_parameters())[name].detach().double().numpy() for model in models]
        mean = sum(weight * part for weight, part in zip(arm["weights"], parts, strict=True))
        np.testing.assert_allclose(parameter.detach().numpy(), mean, rtol=1e-6, atol=1e-8)


def test_a_merged_model_answers_through_transformers(smoke_run: Path) -> None:
    folder = smoke_run / "arms" / "merit-1d" / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompt = [{"role": "user", "content": "1 + 1"}]
    ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    produced = model.generate(**ids, max_new_tokens=3, do_sample=False)
    assert produced.shape[1] > ids["input_ids"].shape[1]


def test_pictures_stand_beside_the_page_that_shows_them(smoke_run: Path) -> None:
    page = (smoke_run / "summary.md").read_text()
    for picture in ("conflict_heat_map.png", "task_map.png"):
        assert f"pictures/{picture}" in page
        assert (smoke_run / "pictures" / picture).stat().st_size > 5_000


def test_running_again_does_nothing_and_changes_nothing(smoke_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(smoke_run, run)  # tests of other processes read the run while this one writes its table again
    before = {path: path.stat().st_mtime_ns for path in run.glob("branches/*/done.json")}
    before |= {path: path.stat().st_mtime_ns for path in run.glob("evaluation/*.npz")}
    table = summary(run)["arms"]
    again = training("run", "smoke", "--out", str(run))
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert summary(run)["arms"] == table


def test_a_branch_trained_alone_is_the_branch_of_the_run(smoke_run: Path, tmp_path: Path) -> None:
    name = json.loads((smoke_run / "arms" / "random-2" / "arm.json").read_text())["branches"][0]
    spec = smoke_run / "branches" / name / "spec.json"
    done = training("branch", "--spec", str(spec), "--out", str(tmp_path / "alone"))
    assert done.returncode == 0, done.stderr
    assert folder_hash(tmp_path / "alone" / "model") == folder_hash(smoke_run / "branches" / name / "model")


def test_branches_merged_by_hand_are_the_arm(smoke_run: Path, tmp_path: Path) -> None:
    arm = json.loads((smoke_run / "arms" / "merit-1d" / "arm.json").read_text())
    inputs = [f"--branch={smoke_run / 'branches' / name / 'model'}" for name in arm["branches"]]
    weights = [f"--weight={weight}" for weight in arm["weights"]]
    done = training("merge", *inputs, *weights, "--out", str(tmp_path / "merged"))
    assert done.returncode == 0, done.stderr
    assert folder_hash(tmp_path / "merged") == arm["sha256"]


def test_a_task_added_later_costs_only_its_own_pass(smoke_run: Path, tmp_path: Path) -> None:
    shutil.copytree(smoke_run, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run" / "conflicts").iterdir()}
    tasks = [f"reasoning_gym:{name}" for name in ("gcd", "lcm", "coin_flip", "basic_arithmetic", "products")]
    changes = ("--set", f"mixture.tasks={json.dumps(tasks)}", "--set", 'arms=["start"]', "--set", "mixture.primer=0")
    # Without a primer the start does not depend on the tasks, so the passes of the first run are made anew once.
    first = training("run", "smoke", "--out", str(tmp_path / "run"), *changes[2:])
    assert first.returncode == 0, first.stderr
    passes = {path.name: path.read_bytes() for path in (tmp_path / "run" / "conflicts").iterdir()}
    assert passes.keys() == before.keys()
    second = training("run", "smoke", "--out", str(tmp_path / "run"), *changes)
    assert second.returncode == 0, second.stderr
    after = {path.name: path.read_bytes() for path in (tmp_path / "run" / "conflicts").iterdir()}
    assert after.keys() - passes.keys() == {"products.npz"}
    assert {name: after[name] for name in passes} == passes
    assert len(json.loads((tmp_path / "run" / "conflicts.json").read_text())["tasks"]) == 5


@pytest.fixture
def own_files(tmp_path: Path) -> Path:
    """Three JSONL files in the three forms users have, and a local model folder."""
    forms = (
        lambda n: {"prompt": f"add {n}", "response": str(n + 1)},
        lambda n: {
            "messages": [{"role": "user", "content": f"double {n}"}, {"role": "assistant", "content": str(2 * n)}]
        },
        lambda n: {"instruction": f"negate {n}", "output": str(-n)},
    )
    (tmp_path / "data").mkdir()
    for name, form in zip(("add", "double", "negate"), forms, strict=True):
        (tmp_path / "data" / f"{name}.jsonl").write_text("".join(json.dumps(form(n)) + "\n" for n in range(90)))
    write_tiny_llama(tmp_path / "model")
    return tmp_path


FIVE_LINES = """\
[mixture]
tasks = ["data/*.jsonl"]

[start]
model = "model"
"""


def test_three_own_files_and_a_local_model_run_with_a_five_line_recipe(own_files: Path) -> None:
    (own_files / "mine.toml").write_text(FIVE_LINES)
    done = training("run", str(own_files / "mine.toml"), "--out", str(own_files / "run"))
    assert done.returncode == 0, done.stderr
    rows = {row["arm"]: row for row in summary(own_files / "run")["arms"]}
    assert rows["merit-1d"]["branches"] == 2
    assert rows["merit-1d"]["results"]["exact_match"] is not None


def test_the_time_budget_stops_a_run_that_says_how_to_continue(tmp_path: Path) -> None:
    stopped = training("run", "smoke", "--out", str(tmp_path / "run"), "--time-budget", "1s")
    assert stopped.returncode == 130
    assert stopped.stderr.splitlines()[-1].endswith("run the same command to continue")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param("branch.micro_batch_tokens=1", id="batch 4 = batch 1, accumulated 4 times"),
        pytest.param("branch.micro_batch_tokens=400", id="batch 4 = batch 2, accumulated twice"),
        pytest.param("branch.packing=false", id="packed = padded"),
        pytest.param("branch.gradient_checkpointing=true", id="activations kept = computed again"),
        pytest.param("branch.compile=true", id="eager = compiled", marks=pytest.mark.slow),
    ],
)
def test_how_a_step_is_computed_changes_its_trajectory_by_rounding_alone(
    settings: str, smoke_run: Path, tmp_path: Path
) -> None:
    arms = ("--set", 'arms=["joint"]', "--set", "evaluation.generate=0", "--set", "resources.workers=1")
    done = training("run", "smoke", "--out", str(tmp_path / "run"), *arms, "--set", settings)
    assert done.returncode == 0, done.stderr
    trajectories = [trajectory(run) for run in (smoke_run, tmp_path / "run")]
    assert trajectories[0].shape == (12, 2)
    np.testing.assert_allclose(trajectories[1], trajectories[0], rtol=1e-4)
    folders = [run / "arms" / "joint" / "model" for run in (smoke_run, tmp_path / "run")]
    weights = [dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters()) for folder in folders]
    for name, parameter in weights[0].items():
        np.testing.assert_allclose(weights[1][name].detach(), parameter.detach(), atol=2e-4)


def trajectory(run: Path) -> np.ndarray:
    """Loss and gradient norm [steps, 2] of the joint branch."""
    (branch,) = json.loads((run / "arms" / "joint" / "arm.json").read_text())["branches"]
    lines = (run / "branches" / branch / "metrics.jsonl").read_text().splitlines()
    return np.array([[json.loads(line)[key] for key in ("loss", "gradient_norm")] for line in lines])
