import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import ReasoningGymTask
from training.errors import InputError
from training.sources.reasoning_gym_tasks import generate_rows, scorer


def task(dataset: str, name: str = "", **parameters: Any) -> ReasoningGymTask:
    return ReasoningGymTask.model_validate(
        {"source": "reasoning_gym", "dataset": dataset, "parameters": parameters} | ({"name": name} if name else {})
    )


GENERATORS = ("gcd", "coin_flip", "syllogism", "basic_arithmetic")


@settings(max_examples=20)
@given(st.sampled_from(GENERATORS), st.integers(1, 30), st.integers(0, 2**62))
def test_questions_are_distinct_as_many_as_asked_and_the_same_again(dataset: str, count: int, seed: int) -> None:
    rows = list(generate_rows(task(dataset), count, seed))
    assert len({row.question for row in rows}) == len(rows) == count
    assert list(generate_rows(task(dataset), count, seed)) == rows


@settings(max_examples=20)
@given(st.sampled_from(GENERATORS), st.integers(0, 2**62))
def test_every_reference_answer_is_a_match_and_nonsense_is_none(dataset: str, seed: int) -> None:
    matches = scorer(task(dataset))
    for row in generate_rows(task(dataset), 5, seed):
        assert matches(row.answer, row)
        assert not matches("no answer at all", row)


def test_a_row_survives_json_with_what_its_scorer_needs() -> None:
    (row,) = generate_rows(task("syllogism"), 1, 0)
    assert row.entry
    assert json.loads(json.dumps(row.entry)) == row.entry


def test_neighbouring_seeds_and_other_names_share_no_items() -> None:
    def questions(name: str, seed: int) -> set[str]:
        return {row.question for row in generate_rows(task("basic_arithmetic", name), 40, seed)}

    first = questions("a", 501)
    assert len(first & questions("a", 502)) < 4
    assert len(first & questions("b", 501)) < 4


def test_a_generator_that_runs_out_gives_what_it_has() -> None:
    few = task("gcd", min_value=1, max_value=2, min_numbers=2, max_numbers=2)
    rows = list(generate_rows(few, 50, 0))
    assert 1 <= len({row.question for row in rows}) == len(rows) < 50


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (task("no_such"), "'no_such' not registered"),
        (task("gcd", colour=1), "unexpected keyword argument 'colour'"),
        (task("gcd", min_numbers=-3), "at least 2"),
        (task("gcd", min_numbers="many"), "correct its name or parameters"),
        (task("gcd", seed=3), "multiple values"),
        (task("composite"), "correct its name or parameters"),
        (task("rush_hour"), "gives no text answer"),
    ],
)
def test_a_generator_that_cannot_make_a_task_is_refused_by_name(bad: ReasoningGymTask, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        list(generate_rows(bad, 3, 0))
    assert repr(bad.dataset) in str(caught.value)
