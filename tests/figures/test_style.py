from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.figure import Figure

from figures.style import headed_figure, save, styled

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@styled()
def picture(name: str = "$x_1$") -> Figure:
    return headed_figure(4.5, 2.0, f"Costs of tasks grouped by {name}", "A sentence that says how to read it. " * 5)


def test_a_picture_becomes_a_png_and_an_svg_and_nothing_else(tmp_path: Path) -> None:
    png, svg = save(picture(), tmp_path, "merit-1.5d")
    assert sorted(tmp_path.iterdir()) == [png, svg]
    assert (png.name, svg.name) == ("merit-1.5d.png", "merit-1.5d.svg")
    assert png.read_bytes().startswith(PNG_SIGNATURE)
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_a_picture_does_not_say_when_it_was_drawn(tmp_path: Path) -> None:
    for path in save(picture(), tmp_path, "undated"):
        assert b"date" not in path.read_bytes()


def test_a_failed_write_leaves_the_earlier_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    png, _ = save(picture(), tmp_path, "kept")
    earlier = png.read_bytes()

    def fails(figure: Figure, path: Path, **_: str) -> None:
        path.write_bytes(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(Figure, "savefig", fails)
    with pytest.raises(OSError, match="no space"):
        save(picture(), tmp_path, "kept")
    assert png.read_bytes() == earlier
    assert len(list(tmp_path.iterdir())) == 2


def test_the_readers_own_settings_neither_change_a_picture_nor_are_changed(tmp_path: Path) -> None:
    expected = [path.read_bytes() for path in save(picture(), tmp_path, "plain")]
    own = {"font.size": 30.0, "figure.facecolor": "black", "svg.hashsalt": "own", "savefig.dpi": 50.0}
    with matplotlib.rc_context(own):
        assert [path.read_bytes() for path in save(picture(), tmp_path, "plain")] == expected
        assert {name: matplotlib.rcParams[name] for name in own} == own


@pytest.mark.parametrize("name", ["merit-1d", "a" * 80, "W" * 24])
def test_title_and_sentence_fit_the_width_and_do_not_overlap(tmp_path: Path, name: str) -> None:
    figure = picture(name)
    save(figure, tmp_path, "fits")
    title, sentence = (text.get_window_extent() for text in figure.texts)
    assert max(title.x1, sentence.x1) < figure.bbox.x1
    assert title.y0 > sentence.y1
