from itertools import pairwise

import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from training.merge.model_card import model_card

UNPLEASANT = st.text(st.characters() | st.sampled_from("|`*_<>[]()\\\n\r#-:&!'\"~"), min_size=1)


def cells(card: str) -> list[list[str]]:
    tokens = MarkdownIt("commonmark").enable("table").parse(card.split("---\n", 2)[2])
    rows: list[list[str]] = []
    for before, token in pairwise(tokens):
        if before.type == "tr_open":
            rows.append([])
        if before.type in {"th_open", "td_open"}:
            children = token.children or []
            assert all(child.type in {"text", "text_special"} for child in children)
            rows[-1].append("".join(child.content for child in children))
    return rows


def printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).strip()


@given(UNPLEASANT, UNPLEASANT, UNPLEASANT)
def test_no_name_breaks_the_card(name: str, task: str, base: str) -> None:
    card = model_card("linear", [name, "b"], [0.25, 0.75], base_model=base, tasks=[[task], ["plain", "other"]])
    front = yaml.safe_load(card.split("---\n", 2)[1])
    assert front["tags"] == ["merge", "merit"]
    assert front["library_name"] == "transformers"
    assert front["base_model"].strip() == printable(base)
    assert cells(card) == [
        ["branch", "weight", "tasks"],
        [printable(name), "0.25", printable(task)],
        ["b", "0.75", "plain, other"],
    ]


def test_what_is_not_known_is_not_said() -> None:
    card = model_card("linear", ["a"], [1.0])
    assert "base_model" not in card
    assert cells(card) == [["branch", "weight"], ["a", "1"]]
