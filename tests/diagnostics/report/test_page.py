import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from diagnostics.report.contents import SECTIONS
from diagnostics.report.document import Document
from diagnostics.report.markdown import markdown
from diagnostics.report.page import bars, html, inlined
from diagnostics.report.section import Picture, Table
from diagnostics.report.verdict import beside_joint, decide
from diagnostics.result import Result
from tests.diagnostics.report.measured import around, connectivity, gain_check, losses
from training.evaluation.noise import Interval

HOSTILE = '<script>alert("x")</script> & {{ 7 * 7 }} | `tick`'
SVG = (
    '<?xml version="1.0"?><!DOCTYPE svg><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">'
    '<metadata>m</metadata><!-- a comment --><defs><path id="glyph" d="M0 0"/></defs>'
    '<g id="figure_1" clip-path="url(#glyph)"><use xlink:href="#glyph"/></g></svg>'
)


class Elements(HTMLParser):
    """Start tags with their attributes, and the text outside style sheets."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in_style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        self.text += "" if self._in_style else data


def document(results: list[Result], title: str = "merit-1d") -> Document:
    return Document(
        title=title,
        subtitle=f"2 branches of {title}.",
        verdict=decide(results),
        beside_joint=beside_joint(next((result for result in results if result.name == "losses"), None)),
        losses=next((result for result in results if result.name == "losses"), None),
        gain_check=next((result for result in results if result.name == "gain_check"), None),
        sections=tuple(SECTIONS[result.name](result) for result in results),
        missing=("landscape",),
        measured_on=(Table("Models", ("model", "folder"), ((title, "a/b"),)),),
        command=f"python -m diagnostics {title}",
    )


def page_of(tmp_path: Path, shown: Document) -> str:
    for section in shown.sections:
        for picture in section.pictures:
            (tmp_path / f"{picture.name}.svg").write_text(SVG)
    return html(shown, tmp_path)


@pytest.fixture
def everything() -> list[Result]:
    return [losses(), gain_check(), connectivity(around(0.001, 0.0005))]


def test_the_page_stands_alone(tmp_path: Path, everything: list[Result]) -> None:
    page = page_of(tmp_path, document(everything))
    elements = Elements(page)
    assert {tag for tag, _ in elements.tags}.isdisjoint({"script", "link", "iframe", "object", "img"})
    references = [value for _, own in elements.tags for name, value in own.items() if name in ("src", "href")]
    assert all(value and value.startswith("#") for value in references)
    assert "@import" not in page
    assert re.findall(r"url\((?!#)", page) == []


def test_every_id_is_unique_and_every_reference_has_its_target(tmp_path: Path, everything: list[Result]) -> None:
    elements = Elements(page_of(tmp_path, document(everything)))
    ids = [own["id"] for _, own in elements.tags if "id" in own]
    assert len(set(ids)) == len(ids)
    for _, own in elements.tags:
        targets = [own[name] for name in ("href", "xlink:href") if name in own]
        targets += [f"#{own['aria-labelledby']}"] if "aria-labelledby" in own else []
        targets += [f"#{name}" for name in re.findall(r"url\(#(.*?)\)", own.get("clip-path") or "")]
        assert {target.removeprefix("#") for target in targets if target} <= set(ids)


def test_names_from_users_are_shown_and_never_run(tmp_path: Path) -> None:
    shown = document([losses(tasks=(HOSTILE, "b"))], title=HOSTILE)
    elements = Elements(page_of(tmp_path, shown))
    assert "script" not in {tag for tag, _ in elements.tags}
    assert elements.text.count(HOSTILE) >= 4


def test_first_comes_the_verdict_then_the_triple(tmp_path: Path, everything: list[Result]) -> None:
    text = " ".join(Elements(page_of(tmp_path, document(everything))).text.split())
    first = text[: text.index("What makes a merge safe")]
    parts = ["Merge-ready", "average branch 1.600 [1.550, 1.650]", "merged 1.500 [1.450, 1.550]"]
    parts += ["joint, equal tokens 1.200", "joint, equal steps 1.495"]
    parts += ["predicted by the Hessian +0.120 [+0.110, +0.130]"]
    positions = [first.index(part) for part in parts]
    assert positions == sorted(positions)
    assert "higher than joint training's at equal tokens, and not separated" in first
    assert "they differ by +0.020 [−0.010, +0.050]" in first


def test_headings_go_down_one_level_at_a_time_and_pictures_say_what_they_show(
    tmp_path: Path, everything: list[Result]
) -> None:
    elements = Elements(page_of(tmp_path, document(everything)))
    levels = [int(tag[1]) for tag, _ in elements.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    drawings = [own for tag, own in elements.tags if tag == "svg"]
    assert len(drawings) == sum(len(section.pictures) for section in document(everything).sections)
    assert all(own["role"] == "img" and own["aria-label"] for own in drawings)


def test_every_cell_of_every_table_is_on_both_pages(tmp_path: Path, everything: list[Result]) -> None:
    shown = document(everything)
    text, written = Elements(page_of(tmp_path, shown)).text, markdown(shown)
    for section in shown.sections:
        assert section.meaning in text
        assert section.uncertainty in text
        assert section.uncertainty in written
        for table in section.tables:
            for row in table.rows:
                assert all(cell in text and cell in written for cell in row)


def test_what_was_not_measured_is_named_and_leaves_no_empty_panel(tmp_path: Path) -> None:
    shown = document([connectivity(around(0.5))])
    text = " ".join(Elements(page_of(tmp_path, shown)).text.split())
    assert "Not measured: landscape." in text
    assert "Not measured: landscape." in markdown(shown)
    assert "Gain of merging" not in text
    assert "joint training was not measured" in text


def test_pictures_that_use_the_same_ids_do_not_meet() -> None:
    first, second = (inlined(Picture(name, 'a "quoted" <b>'), SVG) for name in ("one", "two"))
    assert 'id="one-glyph"' in first
    assert 'xlink:href="#one-glyph"' in first
    assert "url(#one-glyph)" in first
    assert not set(re.findall(r'id="(.*?)"', first)) & set(re.findall(r'id="(.*?)"', second))
    assert first.startswith('<svg role="img" aria-label="a &#34;quoted&#34; &lt;b&gt;"')
    assert "comment" not in first
    assert "metadata" not in first


def test_bars_lie_where_their_numbers_are() -> None:
    laid = bars({"a": Interval(2.0, 1.0, 3.0), "b": Interval(4.0, 3.5, 5.0)}, line=1.0)
    first, second = laid.rows
    assert first.low == laid.line
    per_nat = (second.at - first.at) / 2
    assert first.width == pytest.approx(2 * per_nat)
    assert second.low + second.width == pytest.approx(100 - first.low)
    assert (first.value, first.bounds) == ("2.000", "[1.000, 3.000]")


def test_bars_of_a_single_number_have_a_place() -> None:
    only = bars({"a": Interval(0.0, 0.0, 0.0)}, line=0.0).rows[0]
    assert 0 <= only.low == only.at <= 100
    assert only.width == 0


def test_markdown_keeps_names_inside_their_cells() -> None:
    shown = document([losses(tasks=(HOSTILE, "b"))])
    rows = [line for line in markdown(shown).splitlines() if "alert" in line and line.startswith("|")]
    tables = [table for table in shown.sections[0].tables if table.head[0] == "task"]
    for row, table in zip(rows, tables, strict=True):
        assert len(re.findall(r"(?<!\\)\|", row)) == len(table.head) + 1
        assert "<script" not in row.replace("\\<script", "")
