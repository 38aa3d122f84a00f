import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from figures.table import Block, Table, latex, markdown, save

TABLE = Table(
    "Scores of arms & tasks",
    "Means in nats; 95 % intervals.",
    ("arm", "loss", "‖δ‖"),
    (
        Block("Measured here: tiny_model, 3 tasks", (("joint", "1.383 [1.302, 1.456]", "3.82"), ("a|b", "−0.1", "–"))),
        Block("The paper: Qwen2.5-VL-3B", (("joint", ".71", "13.7"),)),
    ),
)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_holds_every_block_under_its_origin() -> None:
    lines = markdown(TABLE).splitlines()
    ours, paper = (lines.index(f"**{block.origin}**") for block in TABLE.blocks)
    assert cells(lines[ours + 2]) == list(TABLE.columns)
    assert cells(lines[ours + 4]) == list(TABLE.blocks[0].rows[0])
    assert cells(lines[ours + 5]) == [r"a\|b", "−0.1", "–"]
    assert cells(lines[paper + 4]) == list(TABLE.blocks[1].rows[0])


def test_latex_holds_every_block_under_its_origin() -> None:
    text = latex(TABLE)
    ours, paper = (text.index(block.origin.replace("_", r"\_")) for block in TABLE.blocks)
    assert ours < text.index(r"joint & 1.383 [1.302, 1.456] & 3.82 \\") < paper < text.index(r"joint & .71 & 13.7 \\")
    assert r"arm & loss & $\|$$\delta$$\|$ \\" in text
    assert r"Scores of arms \& tasks" in text
    assert r"a|b & $-$0.1 & -- \\" in text


@given(st.text(st.sampled_from("ab1 _%&#${}~^\\−–‖δ"), max_size=20))
def test_no_cell_breaks_a_latex_row(text: str) -> None:
    row = next(
        line for line in latex(Table("t", "n", ("x",), (Block("o", ((text,),)),))).splitlines() if line[:1] == "x"
    )
    body = (
        latex(Table("t", "n", ("x",), (Block("o", ((text,),)),)))
        .split("{\\emph{o}} \\\\\n")[1]
        .split("\n\\bottomrule")[0]
    )
    assert row == r"x \\"
    bare = re.sub(
        r"\\(textbackslash|textasciitilde|textasciicircum)\{\}|\\[&%$#_{}]|\$[^$]*\$", "", body.removesuffix(r" \\")
    )
    assert not set(bare) & set("_%&#$~^\\{}")


def test_a_row_too_short_for_its_head_is_refused() -> None:
    with pytest.raises(ValueError, match="3 cells"):
        Table("t", "n", ("a", "b", "c"), (Block("o", (("x", "y"),)),))


def test_both_pages_are_written(tmp_path: Path) -> None:
    page, latex_page = save(TABLE, tmp_path / "deep", "scores")
    assert (page.name, latex_page.name) == ("scores.md", "scores.tex")
    assert page.read_text() == markdown(TABLE)
    assert latex_page.read_text() == latex(TABLE)
