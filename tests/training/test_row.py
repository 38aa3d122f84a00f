import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import InputError
from training.sources.row import COLUMN_PAIRS, ROLES, Row, row_from_record, single_turn

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
answers = texts.filter(str.strip)
conversations = st.tuples(st.lists(st.tuples(st.sampled_from(ROLES), texts), min_size=1, max_size=4), answers).map(
    lambda parts: [{"role": r, "content": c} for r, c in parts[0]] + [{"role": "assistant", "content": parts[1]}]
)


@given(conversations)
def test_a_conversation_is_read_as_it_stands(messages: list[dict[str, str]]) -> None:
    row = row_from_record({"messages": messages, "other": 1}, "f:1")
    assert list(row.messages) == messages
    assert row.answer == messages[-1]["content"]
    assert json.loads(row.question) == messages[:-1]


@given(st.sampled_from(COLUMN_PAIRS), texts, answers, st.booleans())
def test_every_pair_of_columns_is_one_turn(pair: tuple[str, str], question: str, answer: str, null: bool) -> None:
    record = {pair[0]: question, pair[1]: answer, "extra": [1]} | ({"messages": None} if null else {})
    assert row_from_record(record, "f:1") == single_turn(question, answer)


@given(conversations, conversations)
def test_questions_are_equal_exactly_when_everything_before_the_answer_is(one: list, other: list) -> None:
    same = Row(tuple(one)).question == Row(tuple(other)).question
    assert same == (one[:-1] == other[:-1])
    assert Row(tuple(one)).question == Row((*one[:-1], {"role": "assistant", "content": "another answer"})).question
    swapped = tuple({"content": message["content"], "role": message["role"]} for message in one)
    assert Row(swapped).question == Row(tuple(one)).question


USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ([1, 2], "got list"),
        ("text", "got str"),
        (None, "got NoneType"),
        ({}, r"found columns \[\]"),
        ({"prompt": "a", "answer": "b"}, r"\['answer', 'prompt'\]"),
        ({"prompt": 1, "response": "b"}, "must hold text"),
        ({"prompt": "a", "response": None}, "must hold text"),
        ({"prompt": "a", "response": " \n"}, "answer is empty"),
        ({"prompt": "a", "response": "\ud800"}, "surrogate"),
        ({"prompt": "\udfff", "response": "b"}, "surrogate"),
        ({"messages": "text"}, "not a list"),
        ({"messages": {"role": "user"}}, "not a list"),
        ({"messages": []}, "not an assistant answer"),
        ({"messages": [ASSISTANT]}, "not an assistant answer"),
        ({"messages": [USER]}, "not an assistant answer"),
        ({"messages": [ASSISTANT, USER]}, "not an assistant answer"),
        ({"messages": [USER, "hello"]}, "a role among"),
        ({"messages": [{"role": "robot", "content": "x"}, ASSISTANT]}, "a role among"),
        ({"messages": [{"role": [], "content": "x"}, ASSISTANT]}, "a role among"),
        ({"messages": [{"role": "user", "content": None}, ASSISTANT]}, "text content"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}, ASSISTANT]}, "text content"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "answer is empty"),
    ],
)
def test_a_record_that_is_no_example_is_refused_with_its_place(record: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        row_from_record(record, "data.jsonl:17")
    assert str(caught.value).startswith("data.jsonl:17: ")


@given(st.recursive(st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner, max_size=3)))
def test_any_json_where_a_conversation_should_be_is_a_row_or_an_input_error(value: Any) -> None:
    for record in (value, {"messages": value}, {"messages": [USER, {"role": "assistant", "content": value}]}):
        try:
            assert row_from_record(record, "f:1").answer == value
        except InputError as error:
            assert str(error).startswith("f:1: ")  # noqa: PT017 either is right
