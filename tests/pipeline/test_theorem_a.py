"""Theorem A through the real pipeline, on a language model that is a linear regression.

The model is a frozen random Llama whose output head alone is trained, with squared error and full-batch gradient
descent. Answers are one token, so the Hessian depends on the questions only; tasks with the same questions share it.
"""

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from merit_theory.gain_from_gram import gain_from_gram
from merit_theory.partition import balanced_splits
from training.embedded_models import write_tiny_llama

BARE_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
TASKS = ("ash", "birch", "cedar", "elm")
ROWS = 14
TRAIN, CALIBRATION, TEST = 6, 4, 4
EPOCHS = 7


def write_linear_model(folder: Path) -> None:
    write_tiny_llama(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = BARE_TEMPLATE
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).double().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_tasks(folder: Path, rng: np.random.Generator, *, same_questions: bool) -> None:
    letters = [chr(code) for code in range(97, 123)]
    pairs = ["".join(pair) for pair in combinations(letters, 2)]
    shared = rng.choice(pairs, ROWS, replace=False)
    for task in TASKS:
        questions = shared if same_questions else rng.choice(pairs, ROWS, replace=False)
        rows = [{"prompt": f"{question}=", "response": str(rng.choice(letters))} for question in questions]
        (folder / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe(splits: dict[str, list[list[str]]]) -> str:
    arms = ["joint-equal-steps-2", "merit-1d-uniform", *(f"{name}-uniform" for name in splits)]
    return f"""
arms = {json.dumps(arms)}
[mixture]
tasks = ["*.jsonl"]
train = {TRAIN}
calibration = {CALIBRATION}
test = {TEST}
[start]
model = "model"
trainable = ["lm_head.weight"]
objective = "squared-error"
precision = "float64"
[conflicts]
sketch_size = 512
group_sketch_size = 64
micro_batch_examples = 2
[partition]
resamples = 5
[branch]
optimizer = "sgd"
learning_rate = 0.05
schedule = "constant"
warmup_fraction = 0
clip_norm = "off"
epochs = {EPOCHS}
batch_size = 1000
micro_batch_tokens = 16
[evaluation]
generate = 0
bootstrap = 100
[splits]
""" + "".join(f"{name} = {json.dumps(groups)}\n" for name, groups in splits.items())


def all_balanced_splits() -> dict[str, list[list[str]]]:
    splits = enumerate(balanced_splits(len(TASKS)))
    return {f"split{n}": [[TASKS[task] for task in group] for group in split.groups] for n, split in splits}


def run(folder: Path, *, same_questions: bool) -> Path:
    write_linear_model(folder / "model")
    write_tasks(folder, np.random.default_rng(11), same_questions=same_questions)
    (folder / "linear.toml").write_text(recipe(all_balanced_splits()))
    command = [sys.executable, "-m", "training", "run", str(folder / "linear.toml"), "--out", str(folder / "run")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "run"


@pytest.fixture(scope="module")
def shared_hessian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("shared"), same_questions=True)


@pytest.fixture(scope="module")
def own_hessians(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("own"), same_questions=False)


def head(folder: Path) -> torch.Tensor:
    return load_file(folder / "model.safetensors")["lm_head.weight"]


def split_arms(run: Path) -> list[str]:
    return [name for name in json.loads((run / "summary.json").read_text())["groups"]]


def distance_to_joint(run: Path, arm: str) -> float:
    """Of the merged head from the joint one, relative to how far the joint one went."""
    start, joint = head(run / "start"), head(run / "arms" / "joint-equal-steps-2" / "model")
    merged = head(run / "arms" / arm / "model")
    return ((merged - joint).norm() / (joint - start).norm()).item()


def test_every_balanced_split_merges_to_joint_training_when_tasks_share_the_hessian(shared_hessian: Path) -> None:
    arms = split_arms(shared_hessian)
    assert len(arms) == 3 + 1
    for arm in arms:
        assert distance_to_joint(shared_hessian, arm) < 1e-10


def test_it_does_not_when_each_task_has_its_own_hessian(own_hessians: Path) -> None:
    assert min(distance_to_joint(own_hessians, arm) for arm in split_arms(own_hessians)) > 1e-5


def test_every_arm_took_as_many_steps_as_joint_training_at_equal_steps(shared_hessian: Path) -> None:
    rows = json.loads((shared_hessian / "summary.json").read_text())["arms"]
    assert {row["steps"] for row in rows} == {EPOCHS}
    assert len({row["tokens"] for row in rows}) == 1


@pytest.mark.parametrize("hessians", ["shared_hessian", "own_hessians"])
def test_the_measured_gain_is_the_one_predicted_from_displacements_and_hessian(
    hessians: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(hessians)
    features = last_hidden_states(folder)
    start = head(folder / "start")
    rows = {row["arm"]: row for row in json.loads((folder / "summary.json").read_text())["arms"]}
    for arm in split_arms(folder):
        record = json.loads((folder / "arms" / arm / "arm.json").read_text())
        moved = [features @ (head(folder / "branches" / name / "model") - start).T for name in record["branches"]]
        gram = np.array([[(one * other).sum().item() / len(features) for other in moved] for one in moved])
        predicted = gain_from_gram(gram, np.array(record["weights"]))
        scale = rows[arm]["branch_loss"]
        assert predicted > 1e-9 * scale
        assert abs(rows[arm]["gain"] - predicted) < 1e-10 * scale


def last_hidden_states(folder: Path) -> torch.Tensor:
    """Features [test items of all tasks, hidden] that the head sees, from the model itself."""
    model = AutoModelForCausalLM.from_pretrained(folder / "start", dtype=torch.float64)
    tokenizer = AutoTokenizer.from_pretrained(folder / "start")
    features = []
    for task in TASKS:
        for line in (folder / "mixture" / task / "test.jsonl").read_text().splitlines():
            question = json.loads(line)["messages"][0]["content"]
            ids = torch.tensor([tokenizer.encode(question, add_special_tokens=False)])
            with torch.no_grad():
                features.append(model.model(ids).last_hidden_state[0, -1])
    return torch.stack(features)
