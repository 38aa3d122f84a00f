from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from figures.catalogue import Entry, Source
from figures.gallery import Exhibit, gallery
from figures.table import Block, Table

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><style>a{fill: #0072b2}</style><text>50 % & "σ" + \'one\'</text></svg>'


class Page(HTMLParser):
    """Images, anchors, links, table cells and commands of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.texts: dict[str, list[str]] = {"td": [], "code": [], "h2": []}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        self._open.append(tag)
        if tag == "img":
            self.images.append(str(own["src"]))
        if tag == "figure":
            self.anchors.append(str(own["id"]))
        if tag == "a":
            self.links.append(str(own["href"]))
        if tag in self.texts:
            self.texts[tag].append("")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in self.texts:
            self.texts[self._open[-1]][-1] += data

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass


def exhibits(folder: Path) -> list[Exhibit]:
    (folder / "map.svg").write_text(SVG, encoding="utf-8")
    table = Table("Costs", "In <nats>.", ("arm", "loss"), (Block("Measured here", (("a & b", "1.0"),)),))
    return [
        Exhibit(Entry(Source.RUN, "costs"), "", table, "python -m figures costs --run 'a b' --out DIR"),
        Exhibit(Entry(Source.REPORT, "map", "Figure 2"), "demo/merit-1d", folder / "map.svg", "python -m figures map"),
    ]


def test_the_page_holds_every_picture_as_it_is_and_every_cell(tmp_path: Path) -> None:
    page = Page(gallery(exhibits(tmp_path)))
    (image,) = page.images
    head, _, drawn = image.partition(",")
    assert head == "data:image/svg+xml"
    assert unquote(drawn) == SVG
    assert page.texts["td"] == ["a & b", "1.0"]
    assert page.texts["code"] == ["python -m figures costs --run 'a b' --out DIR", "python -m figures map"]


def test_every_link_leads_to_an_exhibit_and_the_page_needs_no_other_file(tmp_path: Path) -> None:
    page = Page(gallery(exhibits(tmp_path)))
    assert page.anchors == ["costs", "map-demo-merit-1d"]
    assert page.links == [f"#{anchor}" for anchor in page.anchors]
    assert page.texts["h2"] == ["The run", "What happened in the model"]
