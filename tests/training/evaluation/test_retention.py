from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from training.config import EvaluationSettings, StartSettings
from training.errors import InputError
from training.evaluation.retention import ROWS, answer_prompts, encode_prompts, measure_retention, token_divergences
from training.evaluation.retention_reference import (
    PROMPTS,
    ReferenceAnswer,
    freeze_reference,
    frozen_reference,
    general_prompts,
    load_reference,
)
from training.evaluation.retention_results import RetentionItems, load_retention
from training.model.load import load_model, load_tokenizer, save_model
from training.run_directory import RunDirectory

COUNT, TOKENS = 3, 9
JOB: dict[str, Any] = {"device": "cpu", "report": lambda tokens: None, "stopping": lambda: False}
START = StartSettings(precision="float64")


@pytest.fixture(scope="module")
def other(
    tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, load_tiny: Callable[[str], PreTrainedModel]
) -> Path:
    """The tiny model with every weight moved a little."""
    model = load_tiny("float64")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    folder = tmp_path_factory.mktemp("models") / "other"
    save_model(model, tiny_folder, folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, other: Path) -> RunDirectory:
    """The tiny model's answers, and retention of itself and of the other."""
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    answer_prompts(run.root, tiny_folder, "a key", START, prompts=COUNT, tokens=TOKENS, **JOB)
    for name, folder in (("itself", tiny_folder), ("other", other)):
        measure_retention(run.root, name, folder, tiny_folder, "key", START, TOKENS, **JOB)
    return run


def log_probabilities(model: PreTrainedModel, answer: ReferenceAnswer) -> torch.Tensor:
    """Of every token of the vocabulary at every position that predicts one of the answer, from the whole forward."""
    with torch.no_grad():
        logits = model(torch.tensor([answer.ids])).logits[0, answer.prompt_length - 1 : -1]
    return logits - torch.logsumexp(logits, dim=1, keepdim=True)


def test_a_model_does_not_diverge_from_itself_and_repeats_its_own_answers(run: RunDirectory) -> None:
    items = load_retention(run.retention("itself"))
    reference = load_reference(run)
    np.testing.assert_allclose(items.divergence, 0, atol=1e-12)
    assert items.length.tolist() == [answer.length for answer in reference]
    assert items.ended.tolist() == [answer.ended for answer in reference]


def test_loss_and_divergence_are_those_of_the_full_distributions_at_the_tokens_of_the_answer(
    run: RunDirectory, load_tiny: Callable[[str], PreTrainedModel], other: Path
) -> None:
    items = load_retention(run.retention("other"))
    teacher, model = load_tiny("float64"), load_model(other, "float64", torch.device("cpu"))
    for number, answer in enumerate(load_reference(run)):
        expected, measured = log_probabilities(teacher, answer), log_probabilities(model, answer)
        targets = torch.tensor(answer.ids[answer.prompt_length :])
        loss = -sum(measured[place, token].item() for place, token in enumerate(targets))
        divergence = (expected.exp() * (expected - measured)).sum().item()
        reverse = (measured.exp() * (measured - expected)).sum().item()
        assert items.tokens[number] == len(targets)
        assert items.loss[number] == pytest.approx(loss, rel=1e-6)
        assert items.divergence[number] == pytest.approx(divergence, rel=1e-6)
        assert abs(divergence - reverse) > 1e-3 * divergence


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, ROWS, ROWS + 1, 2 * ROWS + 5]), st.sampled_from([2, 7]))
def test_a_divergence_is_non_negative_and_the_same_however_positions_are_grouped(
    seed: int, rows: int, vocabulary: int
) -> None:
    rng = np.random.default_rng(seed)
    above, below = (torch.tensor(rng.normal(scale=3, size=(rows, vocabulary))) for _ in range(2))
    together = token_divergences(above, below)
    alone = torch.cat([token_divergences(above[row : row + 1], below[row : row + 1]) for row in range(rows)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-14)
    assert (together >= -1e-14).all()


def test_the_divergence_of_two_coins_is_the_one_known() -> None:
    fair, biased = torch.log(torch.tensor([[0.5, 0.5]])), torch.log(torch.tensor([[0.25, 0.75]]))
    assert token_divergences(fair, biased).item() == pytest.approx(0.5 * np.log(4 / 3), rel=1e-6)
    assert token_divergences(biased, fair).item() == pytest.approx(0.75 * np.log(3) - np.log(2), rel=1e-6)


def test_the_reference_is_the_greedy_continuation_and_its_file_says_so(
    run: RunDirectory, load_tiny: Callable[[str], PreTrainedModel], tiny_folder: Path
) -> None:
    model, tokenizer = load_tiny("float64"), load_tokenizer(tiny_folder)
    reference = load_reference(run)
    assert [answer.prompt for answer in reference] == general_prompts(COUNT)
    for answer in reference:
        messages = [{"role": "user", "content": answer.prompt}]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert tokenizer.decode(answer.ids[: answer.prompt_length]) == prompt
        assert log_probabilities(model, answer).argmax(dim=1).tolist() == list(answer.ids[answer.prompt_length :])
        assert answer.length + answer.ended == len(answer.ids) - answer.prompt_length
        assert answer.ended or answer.length == TOKENS


def test_a_reference_stands_under_its_key_until_a_byte_of_it_changes(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert frozen_reference(run, "key") is None
    answers = [
        ReferenceAnswer("Why?", "Ü\u2028 so", (5, 6, 7), 1, ended=True),
        ReferenceAnswer("", "", (1, 2), 1, False),
    ]
    sha256 = freeze_reference(run, "key", answers)
    assert frozen_reference(run, "key") == sha256
    assert frozen_reference(run, "another") is None
    assert load_reference(run) == answers
    assert [answer.length for answer in answers] == [1, 1]
    run.retention_answers.write_bytes(run.retention_answers.read_bytes().replace(b"so", b"no"))
    assert frozen_reference(run, "key") is None
    with pytest.raises(InputError, match="not the file that was frozen"):
        load_reference(run)


def test_the_package_brings_as_many_distinct_prompts_as_the_setting_allows() -> None:
    (limit,) = (entry.le for entry in EvaluationSettings.model_fields["retention"].metadata if hasattr(entry, "le"))
    prompts = general_prompts(limit)
    assert len(PROMPTS.read_text(encoding="utf-8").splitlines()) == len({*prompts}) == limit
    assert all(prompt.strip() == prompt for prompt in prompts)
    assert general_prompts(5) == prompts[:5]
    assert general_prompts(0) == []


def test_a_prompt_that_leaves_no_room_for_its_answer_is_refused(tiny_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_folder)
    (ids,) = encode_prompts(["Why?"], tokenizer, 10, 1024)
    assert encode_prompts(["Why?"], tokenizer, 10, len(ids) + 10) == [ids]
    with pytest.raises(InputError, match=r"retention_tokens = 10 do not fit .* lower evaluation.retention_tokens"):
        encode_prompts(["Why?"], tokenizer, 10, len(ids) + 9)


def test_a_model_that_computes_no_number_is_refused(
    run: RunDirectory, tmp_path: Path, tiny_folder: Path, load_tiny: Callable[[str], PreTrainedModel]
) -> None:
    model = load_tiny("float64")
    with torch.no_grad():
        model.get_output_embeddings().weight[3] = torch.nan
    save_model(model, tiny_folder, tmp_path / "broken")
    with pytest.raises(InputError, match="the loss of broken on general prompts is not finite"):
        measure_retention(run.root, "broken", tmp_path / "broken", tiny_folder, "key", START, TOKENS, **JOB)
    assert not run.retention("broken").exists()


def test_items_come_back_as_they_were_measured(run: RunDirectory) -> None:
    items = load_retention(run.retention("other"))
    assert isinstance(items, RetentionItems)
    assert (items.loss.dtype, items.divergence.dtype) == (np.float64, np.float64)
    assert (items.tokens.dtype, items.length.dtype, items.ended.dtype) == (np.int64, np.int64, np.bool_)
    assert {len(column) for column in (items.loss, items.divergence, items.tokens, items.length, items.ended)} == {
        COUNT
    }
