import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example as always_with
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import InputError
from training.model.batching import Example, collate, encode, micro_batches
from training.sources.row import Row, single_turn

# Every byte is a token and every template piece below is spelled out, so the oracle is plain string building.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10).filter(lambda text: "<|" not in text)
answers = texts.map(str.strip).filter(bool)


@st.composite
def conversations(draw: st.DrawFn) -> Row:
    messages = [{"role": "system", "content": draw(texts)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(texts)})
        messages.append({"role": "assistant", "content": draw(answers)})
    return Row(tuple(messages))


def expected_text(row: Row) -> tuple[str, list[tuple[str, bool]]]:
    pieces: list[tuple[str, bool]] = []
    for message in row.messages:
        learnt = message["role"] == "assistant"
        pieces.append((f"<|im_start|>{message['role']}\n", False))
        pieces.append((f"{message['content']}<|im_end|>", learnt))
        pieces.append(("\n", False))
    return "".join(text for text, _ in pieces[:-1]), pieces[:-1]


@settings(max_examples=100)
@given(row=conversations())
def test_loss_falls_on_the_assistants_text_and_its_end_token_and_on_nothing_else(row: Row, tokenizer: Any) -> None:
    (example,) = encode([row], tokenizer, 10**6, "t")
    whole, pieces = expected_text(row)
    assert list(example.ids) == tokenizer.encode(whole, add_special_tokens=False)
    expected = [learnt for text, learnt in pieces for _ in range(len(tokenizer.encode(text, add_special_tokens=False)))]
    assert list(example.has_loss) == expected
    assert example.answer_tokens == sum(expected)


@settings(max_examples=100)
@given(row=conversations())
def test_the_prompt_of_an_example_is_what_generation_is_given(row: Row, tokenizer: Any) -> None:
    (example,) = encode([row], tokenizer, 10**6, "t")
    given_to_generation = tokenizer.apply_chat_template(
        list(row.messages[:-1]), add_generation_prompt=True, return_dict=False
    )
    assert list(example.ids[: example.prompt_length]) == given_to_generation
    assert all(example.has_loss[example.prompt_length :])
    assert example.ids[-1] == tokenizer.eos_token_id


def test_white_space_that_ends_an_answer_is_learnt_and_the_line_break_after_its_turn_is_not(tokenizer: Any) -> None:
    (example,) = encode([single_turn("q", "a \n")], tokenizer, 100, "t")
    assert tokenizer.decode(example.ids[example.prompt_length :]) == "a \n<|im_end|>"


@pytest.mark.parametrize("special", ["<|im_start|>", "<|im_end|>", "<|pad|>"])
@pytest.mark.parametrize("turn", [0, 1])
def test_a_text_that_would_be_read_as_a_turn_of_its_own_is_refused(tokenizer: Any, special: str, turn: int) -> None:
    turns = ["q", "a"]
    turns[turn] += special
    with pytest.raises(
        InputError, match=rf"task 't', row '{re.escape(turns[0])}': a message holds the special token '<\|"
    ):
        encode([single_turn("q", "a"), single_turn(*turns)], tokenizer, 100, "t")


def test_an_example_must_fit_in_the_context_to_the_token(tokenizer: Any) -> None:
    (example,) = encode([single_turn("q", "a")], tokenizer, 10**6, "t")
    assert encode([single_turn("q", "a")], tokenizer, len(example), "t") == [example]
    with pytest.raises(InputError, match=f"task 'my task', row 'q': {len(example) + 1} tokens do not fit"):
        encode([single_turn("q", "a"), single_turn("q", "ab")], tokenizer, len(example), "my task")


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (None, "no chat template"),
        ("{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}", "rewrites earlier turns"),
        ("{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}", "leaves nothing"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    ],
)
def test_a_template_that_cannot_be_trained_with_is_refused(template: str | None, complaint: str, tiny_folder) -> None:
    from training.model.load import load_tokenizer

    tokenizer = load_tokenizer(tiny_folder)
    tokenizer.chat_template = template
    with pytest.raises(InputError, match=complaint):
        encode([single_turn("q", "a")], tokenizer, 100, "t")


@st.composite
def examples(draw: st.DrawFn, at_least: int = 1) -> list[Example]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    prefix = rng.integers(0, 9, draw(st.sampled_from([0, 3, 6]))).tolist()
    made = []
    for _ in range(draw(st.integers(at_least, 7))):
        prompt = [*prefix, *rng.integers(0, 3, rng.integers(1, 6)).tolist()]
        answer = rng.integers(0, 9, rng.integers(1, 5)).tolist()
        made.append(Example((*prompt, *answer), (False,) * len(prompt) + (True,) * len(answer), len(prompt)))
    return made


@given(examples())
def test_a_batch_holds_every_example_and_every_target_with_its_owner(batch_examples: list[Example]) -> None:
    batch = collate(batch_examples, [10 * number for number in range(len(batch_examples))])
    rows = [tuple(row[:length]) for row, length in zip(batch.input_ids.tolist(), batch.lengths.tolist(), strict=True)]
    assert rows == sorted(example.ids for example in batch_examples)
    assert batch.input_ids.shape[1] == max(map(len, batch_examples))
    assert batch.answer_tokens == sum(example.answer_tokens for example in batch_examples)
    places = batch.predicts.nonzero().tolist()
    found = zip(batch.items.tolist(), places, batch.targets.tolist(), strict=True)
    by_item: dict[int, list[tuple[int, int]]] = {}
    for item, (row, position), target in found:
        assert rows[row] == batch_examples[item // 10].ids
        by_item.setdefault(item, []).append((position, target))
    for number, example in enumerate(batch_examples):
        expected = [(place - 1, example.ids[place]) for place in range(len(example)) if example.has_loss[place]]
        assert by_item[10 * number] == expected


ENDS_WHERE_THE_NEXT_GOES_ON_WITH_PADDING = [
    Example((1, 2), (False, True), 1),
    Example((1, 2, 0, 0, 3), (False, False, False, True, True), 3),
]


@always_with(ENDS_WHERE_THE_NEXT_GOES_ON_WITH_PADDING)
@given(examples())
def test_a_row_shares_with_the_row_before_it_the_longest_common_beginning(batch_examples: list[Example]) -> None:
    batch = collate(batch_examples, range(len(batch_examples)))
    rows = sorted(example.ids for example in batch_examples)
    expected = [0]
    for before, row in pairwise(rows):
        expected.append(max(count for count in range(min(len(before), len(row)) + 1) if before[:count] == row[:count]))
    assert batch.shared.tolist() == expected


@given(examples(), st.integers(1, 60))
def test_micro_batches_take_every_example_once_sorted_by_length_and_within_the_limit(
    cut: list[Example], limit: int
) -> None:
    batches = list(micro_batches(cut, limit))
    taken = [list(dict.fromkeys(batch.items.tolist())) for batch in batches]
    assert sorted(item for items in taken for item in items) == list(range(len(cut)))
    lengths = [sorted((len(cut[item]) for item in items), reverse=True) for items in taken]
    assert [length for part in lengths for length in part] == sorted(map(len, cut), reverse=True)
    for batch, items in zip(batches, taken, strict=True):
        assert torch.equal(batch.input_ids, collate([cut[item] for item in items], items).input_ids)
        assert batch.input_ids.shape[0] == 1 or batch.input_ids.numel() <= limit


@given(st.integers(1, 20), st.integers(2, 9), st.integers(1, 60))
def test_examples_of_one_length_fill_their_micro_batches(count: int, length: int, limit: int) -> None:
    example = Example((1,) * length, (False,) * (length - 1) + (True,), length - 1)
    rows = [batch.input_ids.shape[0] for batch in micro_batches([example] * count, limit)]
    assert len(rows) == -(-count // max(1, limit // length))
