from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.evaluation.generation import BATCH, Continuation, greedy_continuations

LIMIT = 6


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    """More than one batch, of many lengths, in no order."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randperm(BATCH + 3, generator=generator) + 1
    return [torch.randint(0, 200, (int(length),), generator=generator).tolist() for length in lengths]


@pytest.fixture(scope="module")
def alone(load_tiny: Callable[[str], PreTrainedModel], prompts: list[list[int]]) -> list[list[int]]:
    """What the model finds most likely after each prompt by itself, ends or no ends."""
    model = load_tiny("float64")
    return [most_likely(model, prompt, LIMIT) for prompt in prompts]


def most_likely(model: PreTrainedModel, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("as_list", [False, True])
def test_an_answer_ends_with_the_first_end_token_that_the_model_gives_or_at_the_limit(
    load_tiny: Callable[[str], PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    alone: list[list[int]],
    as_list: bool,
) -> None:
    model = load_tiny("float64")
    # The token that comes first for one prompt ends that answer at once and others later or never.
    end = alone[0][0]
    model.generation_config.eos_token_id = [end, 255] if as_list else end
    answers = greedy_continuations(model, tokenizer, prompts, [LIMIT] * len(prompts))
    assert answers[0] == Continuation((end,), ended=True)
    assert answers[0].length == 0
    for tokens, answer in zip(alone, answers, strict=True):
        places = [place for place, token in enumerate(tokens) if token in ((end, 255) if as_list else (end,))]
        assert answer.ended == bool(places)
        assert answer.length == (places[0] if places else LIMIT)
        assert list(answer.ids) == tokens[: places[0] + 1 if places else LIMIT]
    assert len({answer.ended for answer in answers}) == 2
