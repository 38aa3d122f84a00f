import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from figures import style
from figures.style import DARK_MODE, axes_at, headed_figure, save, styled

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


DARK_PAPER = "#15171a"


@styled()
def coloured(colours: tuple[str, ...]) -> Figure:
    figure = headed_figure(4.5, 2.0, "Title", "Sentence.")
    axes = axes_at(figure, 0.5, 0.4, 3.5, 1.4)
    for number, colour in enumerate(colours):
        axes.bar(number, 1.0, color=colour, edgecolor=colour)
    axes.text(0, 0.5, "label", bbox={"facecolor": style.PAPER, "edgecolor": "none"})
    return figure


def shown_in(svg: str, dark: bool) -> list[str]:
    """Colours of all shapes, as a browser takes them from the inline styles and the style sheet."""
    sheet, body = re.findall(r"<style[^>]*>(.*?)</style>", svg, flags=re.DOTALL)[0], svg[svg.index("</style>") :]
    media = re.search(r"@media screen and \(prefers-color-scheme: dark\) \{(.*)\}", sheet, flags=re.DOTALL)
    assert media
    rules = re.findall(r'\[style\*="(.*?)"\] \{ (fill|stroke): (.*?) !important \}', media[1])
    found = []
    for declarations in re.findall(r'style="(.*?)"', body):
        for kind, colour in re.findall(r"\b(fill|stroke): (#\w+)", declarations):
            swapped = [new for part, own, new in rules if own == kind and part == f"{kind}: {colour}"]
            assert len(swapped) <= 1
            found.append(swapped[0] if dark and swapped else colour)
    return found


def luminance(colour: str) -> float:
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_on_a_dark_page_every_colour_of_the_style_is_swapped_and_no_other(tmp_path: Path) -> None:
    own = ("#123456", "#ffffff")
    _, svg = save(coloured((*style.GROUP_COLOURS, style.LINE, style.FAINT, style.MUTED, *own)), tmp_path, "swapped")
    light, dark = (shown_in(svg.read_text(), dark) for dark in (False, True))
    assert {DARK_MODE.get(colour, colour) for colour in light} == set(dark)
    assert set(light) >= {*DARK_MODE, *own}
    assert set(dark) & set(DARK_MODE) == set()
    assert set(dark) >= set(own)


def test_an_svg_has_no_background_and_a_png_is_light_on_white(tmp_path: Path) -> None:
    png, svg = save(coloured(("#123456",)), tmp_path, "background")
    assert "#ffffff" not in shown_in(svg.read_text(), dark=False)
    pixels = imread(png)
    assert np.array_equal(pixels[0, 0], [1, 1, 1, 1])
    assert (pixels[..., 3] == 1).all()
    assert np.mean(pixels[..., :3]) > 0.5


def test_what_is_swapped_can_be_read_on_dark_and_told_apart() -> None:
    for colour, least in ((style.INK, 12), (style.MUTED, 4.5), *((colour, 3) for colour in style.GROUP_COLOURS)):
        assert contrast(DARK_MODE[colour], DARK_PAPER) >= least
    assert DARK_PAPER in DARK_MODE[style.PAPER]
    assert len(set(DARK_MODE.values())) == len(DARK_MODE)


def test_ink_on_colours_looks_like_ink_and_stays_as_it_is() -> None:
    for on_colour, ink in ((style.INK_ON_COLOUR, style.INK), (style.MUTED_ON_COLOUR, style.MUTED)):
        assert on_colour not in DARK_MODE
        assert contrast(on_colour, ink) < 1.05
