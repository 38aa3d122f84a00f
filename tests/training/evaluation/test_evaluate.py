import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.config import EvaluationSettings, MixtureSettings, StartSettings
from training.errors import InputError
from training.evaluation.evaluate import check_test_rows, evaluate_model
from training.evaluation.generation import ROOM_FOR_ANSWERS, greedy_answers
from training.evaluation.items import Items, load_items
from training.mixture import Mixture, freeze
from training.model.batching import collate, encode
from training.model.load import place_model
from training.model.loss import answer_losses
from training.run_directory import RunDirectory

TASKS: list[Any] = ["reasoning_gym:gcd", "reasoning_gym:coin_flip"]
GENERATED = 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> RunDirectory:
    """Two tasks of five test items and one unseen task, evaluated."""
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    settings = MixtureSettings(tasks=TASKS, outside=["reasoning_gym:lcm"], train=1, calibration=2, test=5)
    freeze(settings, 0, run.mixture)
    evaluate_model(
        run.root,
        "tiny",
        tiny_folder,
        "a key",
        StartSettings(precision="float64"),
        batch_tokens=400,
        generate=GENERATED,
        device="cpu",
        report=lambda tokens: None,
        stopping=lambda: False,
    )
    return run


@pytest.fixture(scope="module")
def items(run: RunDirectory) -> Items:
    return load_items(run.evaluation("tiny"))


def test_each_item_has_the_loss_it_has_alone(
    run: RunDirectory, items: Items, load_tiny: Callable[[str], PreTrainedModel], tokenizer: PreTrainedTokenizerBase
) -> None:
    model = load_tiny("float64")
    mixture = Mixture.load(run.mixture)
    examples = [
        example
        for task in (*mixture.tasks, *mixture.outside)
        for example in encode(task.rows("test"), tokenizer, 4096, task.name)
    ]
    with torch.no_grad():
        alone = [answer_losses(model, collate([example], [0]), "cross-entropy") for example in examples]
    np.testing.assert_allclose(items.loss, [losses.sum().item() for losses, _ in alone], rtol=1e-6)
    assert items.correct.tolist() == [int(correct.sum()) for _, correct in alone]
    assert items.tokens.tolist() == [example.answer_tokens for example in examples]


def test_unseen_tasks_are_evaluated_and_marked(items: Items) -> None:
    assert items.tasks == ("gcd", "coin_flip", "lcm")
    assert items.outside.tolist() == [False, False, True]


def test_only_the_first_items_of_a_task_are_answered(items: Items) -> None:
    for task in range(3):
        answered = items.match[items.task == task] >= 0
        assert answered.tolist() == [True] * GENERATED + [False] * (5 - GENERATED)


def test_a_generated_answer_is_the_greedy_one_of_its_prompt_alone(
    run: RunDirectory, load_tiny: Callable[[str], PreTrainedModel], tokenizer: PreTrainedTokenizerBase
) -> None:
    model = load_tiny("float64")
    examples = encode(Mixture.load(run.mixture).tasks[0].rows("test"), tokenizer, 4096, "gcd")
    together = greedy_answers(model, tokenizer, examples)
    longest = max(len(example) - example.prompt_length for example in examples)
    for example, answer in zip(examples, together, strict=True):
        ids = list(example.ids[: example.prompt_length])
        for _ in range(longest + ROOM_FOR_ANSWERS):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                break
        assert answer == tokenizer.decode(ids[example.prompt_length :], skip_special_tokens=True).strip()


def test_a_right_answer_matches_and_a_wrong_one_does_not(run: RunDirectory) -> None:
    task = Mixture.load(run.mixture).tasks[0]
    matches = task.matcher()
    for row in task.rows("test"):
        assert matches(row.answer, row)
        assert not matches(row.answer + "7", row)


# --- what is refused before the training ------------------------------------------------------------------------------


def write_answers(path: Path, answers: dict[str, str]) -> str:
    rows = (
        {"prompt": f"question {number}", "response": answers.get(f"question {number}", "so")} for number in range(8)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def check(run: RunDirectory, **evaluation: int) -> None:
    settings = EvaluationSettings(**evaluation)
    check_test_rows(run.root, StartSettings(), settings, "cpu", lambda tokens: None, lambda: False)


@pytest.mark.parametrize(("split", "refused"), [("test", True), ("validation", True), ("train", False)])
def test_a_row_too_long_to_be_measured_is_refused_before_anything_is_trained(
    tmp_path: Path, tiny_folder: Path, split: str, refused: bool
) -> None:
    run = RunDirectory(tmp_path / "run")
    place_model(tiny_folder, run.base)
    sizes: dict[str, Any] = {"test": 1, "calibration": 2, "validation": 2}
    path = write_answers(tmp_path / "t.jsonl", {})
    (task,) = freeze(MixtureSettings(tasks=[path], **sizes), 0, run.mixture).tasks
    question = task.rows(split)[-1].messages[-2]["content"]
    check(run)
    write_answers(tmp_path / "t.jsonl", {question: "long " * 300})
    freeze(MixtureSettings(tasks=[path], **sizes), 0, run.mixture)
    if refused:
        with pytest.raises(InputError, match=rf"row '{question}': \d+ tokens do not fit"):
            check(run)
    else:
        check(run)


def test_general_prompts_without_room_for_answers_are_refused_before_anything_is_trained(
    run: RunDirectory, tiny_folder: Path
) -> None:
    place_model(tiny_folder, run.base)
    check(run, retention=0, retention_tokens=2000)
    check(run, retention=32, retention_tokens=64)
    with pytest.raises(InputError, match=r"retention_tokens = 2000 do not fit in the context of 1024"):
        check(run, retention=1, retention_tokens=2000)
