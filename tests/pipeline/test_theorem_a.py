"""Theorem A through the real pipeline, on a language model that is a linear regression.

The model is a frozen random Llama whose output head alone is trained, with squared error and full-batch gradient
descent. Answers are one token, so the Hessian depends on the questions only; tasks with the same questions share it.
"""

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from merit_theory.gain_from_gram import gain_from_gram
from merit_theory.partition import balanced_splits
from tests.pipeline.refusals import training
from training.model.embedded import write_tiny_llama

BARE_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
TASKS = ("ash", "birch", "cedar", "elm")
ROWS = 18
TRAIN, CALIBRATION, VALIDATION, TEST = 6, 4, 4, 4
EPOCHS = 7
MERGED_OTHERWISE = ("split0", "split0+drift-corrected", "split0+fitted", "split0@fitted", "joint-equal-steps-2@0.5")


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
    drawn = rng.choice(pairs, (len(TASKS), ROWS), replace=False)
    for number, task in enumerate(TASKS):
        questions = drawn[0 if same_questions else number]
        rows = [{"prompt": f"{question}=", "response": str(rng.choice(letters))} for question in questions]
        (folder / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe(splits: dict[str, list[list[str]]]) -> str:
    arms = ["joint-equal-steps-2", "merit-1d-uniform", *(f"{name}-uniform" for name in splits), *MERGED_OTHERWISE]
    return f"""
arms = {json.dumps(arms)}
[mixture]
tasks = ["*.jsonl"]
train = {TRAIN}
calibration = {CALIBRATION}
validation = {VALIDATION}
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
    done = training("run", folder / "linear.toml", "--out", folder / "run")
    assert done.returncode == 0, done.stderr
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
    return [name for name in json.loads((run / "summary.json").read_text())["groups"] if name.endswith("-uniform")]


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
    features, _ = hidden_states(folder, "test")
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


def test_the_drift_correction_takes_the_merge_towards_joint_training(own_hessians: Path) -> None:
    plain, corrected = (distance_to_joint(own_hessians, arm) for arm in ("split0", "split0+drift-corrected"))
    assert corrected < 0.6 * plain


def test_the_correction_is_half_the_travel_times_the_drift_of_the_branches_gradients(own_hessians: Path) -> None:
    """By hand from the features: for a linear head the gradient is the mean of (Wx - y)xᵀ over a branch's rows."""
    heads = [head(own_hessians / "branches" / name / "model") for name in branches(own_hessians, "split0")]
    mean = sum(heads) / 2
    groups = json.loads((own_hessians / "summary.json").read_text())["groups"]["split0"]

    def gradient(weights: torch.Tensor, group: list[str]) -> torch.Tensor:
        features, answers = hidden_states(own_hessians, "train", group)
        return (features @ weights.T - answers).T @ features / len(features)

    pairs = zip(heads, groups, strict=True)
    drift = sum((gradient(own, group) - gradient(mean, group)) / 2 for own, group in pairs)
    correction = load_file(own_hessians / "drifts" / "split0+drift-corrected.safetensors")["lm_head.weight"]
    torch.testing.assert_close(correction, 0.5 * (EPOCHS - 1) * 0.05 * drift, rtol=0, atol=1e-12)
    merged = head(own_hessians / "arms" / "split0+drift-corrected" / "model")
    torch.testing.assert_close(merged, mean + correction, rtol=0, atol=1e-14)
    assert correction.abs().max() > 1e-4


def test_there_is_no_drift_to_correct_where_tasks_share_the_hessian(shared_hessian: Path) -> None:
    assert distance_to_joint(shared_hessian, "split0+drift-corrected") < 1e-10


def test_fitted_coefficients_are_the_least_squares_ones_on_the_validation_rows(own_hessians: Path) -> None:
    """The loss is quadratic in the coefficients, so their best values solve a linear system."""
    features, targets = hidden_states(own_hessians, "validation")
    start = head(own_hessians / "start")
    for arm, models in [
        ("split0+fitted", [own_hessians / "branches" / name / "model" for name in branches(own_hessians, "split0")]),
        ("split0@fitted", [own_hessians / "arms" / "split0" / "model"]),
    ]:
        moved = torch.stack([(features @ (head(model) - start).T).reshape(-1) for model in models], dim=1)
        residual = (targets - features @ start.T).reshape(-1, 1)
        exact = torch.linalg.lstsq(moved, residual).solution.reshape(-1)
        fit = json.loads((own_hessians / "fits" / f"{arm}.json").read_text())
        fitted = torch.tensor(fit["coefficients"], dtype=torch.float64)
        loss = 0.5 * (residual.squeeze(1) - moved @ fitted).square().sum() / len(features)
        best = 0.5 * (residual.squeeze(1) - moved @ exact).square().sum() / len(features)
        assert loss.item() == pytest.approx(fit["validation_loss"], rel=1e-9)
        assert (loss - best).item() < 1e-6 * loss.item()
        assert fit["validation_loss"] < fit["path"][0]["loss"]
        merged = start + sum(
            value * (head(model) - start) for value, model in zip(fit["coefficients"], models, strict=True)
        )
        torch.testing.assert_close(head(own_hessians / "arms" / arm / "model"), merged, rtol=0, atol=1e-14)


def test_a_scale_in_the_name_is_that_part_of_the_displacement(shared_hessian: Path) -> None:
    start, joint = head(shared_hessian / "start"), head(shared_hessian / "arms" / "joint-equal-steps-2" / "model")
    scaled = head(shared_hessian / "arms" / "joint-equal-steps-2@0.5" / "model")
    torch.testing.assert_close(scaled, (start + joint) / 2, rtol=0, atol=1e-15)
    rows = {row["arm"]: row for row in json.loads((shared_hessian / "summary.json").read_text())["arms"]}
    moved = rows["joint-equal-steps-2"]["displacement"]
    assert moved == pytest.approx((joint - start).norm().item(), rel=1e-12)
    assert rows["joint-equal-steps-2@0.5"]["displacement"] == pytest.approx(moved / 2, rel=1e-9)


def branches(run: Path, arm: str) -> list[str]:
    return json.loads((run / "arms" / arm / "arm.json").read_text())["branches"]


def hidden_states(folder: Path, split: str, tasks: Sequence[str] = TASKS) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [items of the tasks, hidden] that the head sees, from the model itself, and one-hot answers."""
    model = AutoModelForCausalLM.from_pretrained(folder / "start", dtype=torch.float64)
    tokenizer = AutoTokenizer.from_pretrained(folder / "start")
    features, answers = [], []
    for task in tasks:
        for line in (folder / "mixture" / task / f"{split}.jsonl").read_text().splitlines():
            question, answer = (message["content"] for message in json.loads(line)["messages"])
            ids = torch.tensor([tokenizer.encode(question, add_special_tokens=False)])
            answers += tokenizer.encode(answer, add_special_tokens=False)
            with torch.no_grad():
                features.append(model.model(ids).last_hidden_state[0, -1])
    return torch.stack(features), torch.nn.functional.one_hot(torch.tensor(answers), len(tokenizer)).double()
