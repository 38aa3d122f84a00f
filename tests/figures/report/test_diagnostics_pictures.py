"""What the pictures of the gain check and of connectivity show is what the files say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from figures.report import connectivity, gain_check
from figures.report.connectivity import MOST_PATHS
from training.errors import InputError
from training.run_directory import ReportDirectory, write_json


def interval(value: float, reach: float = 0.1) -> dict[str, float]:
    return {"value": value, "low": value - reach, "high": value + reach}


def path(number: int, points: int = 5) -> dict[str, Any]:
    losses = np.random.default_rng(number).random(points).tolist()
    return {
        "ends": [f"branch-{number}", "merged"],
        "losses": losses,
        "excess": [interval(0.01 * point) for point in range(points)],
        "barrier": interval(0.1 * number),
        "dip": interval(0.2),
    }


def written(folder: Path, name: str, result: dict[str, Any]) -> ReportDirectory:
    directory = ReportDirectory(folder)
    write_json(directory.values(name), {"result": result})
    return directory


def gain(is_average: bool = True, lines: int = 2) -> dict[str, Any]:
    keys = ("measured", "predicted", "from_dips", "linear", "quadratic", "cubic", "rest")
    stations = [-0.5, 0.0, 0.5, 1.0]
    return {
        **{key: interval(0.3 * number, 0.05 + 0.01 * number) for number, key in enumerate(keys)},
        "is_average": is_average,
        "stations": stations,
        "lines": [
            {"branch": f"branch-{n}", "losses": [2.0, 1.5, 1.2 + n, 1.3], "slope": -0.6, "curvature": 0.8}
            for n in range(lines)
        ],
    }


def test_every_path_is_drawn_with_its_chord_and_band(tmp_path: Path) -> None:
    paths = [path(number) for number in range(3)]
    figure = connectivity.draw(written(tmp_path, "connectivity", {"paths": paths}))
    assert len(figure.axes) == 3
    for axes, own in zip(figure.axes, paths, strict=True):
        chord, line = axes.get_lines()
        assert line.get_ydata().tolist() == own["losses"]  # pyrefly: ignore
        assert chord.get_ydata()[[0, -1]].tolist() == [own["losses"][0], own["losses"][-1]]  # pyrefly: ignore
        assert f"{own['barrier']['value']:.3f}" in axes.get_title()
        assert own["ends"][0] in axes.get_xlabel()


def test_of_many_paths_those_with_the_largest_barriers_are_drawn(tmp_path: Path) -> None:
    paths = [path(number) for number in range(MOST_PATHS + 3)]
    figure = connectivity.draw(written(tmp_path, "connectivity", {"paths": paths}))
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert len(labels) == MOST_PATHS
    assert not any(label.startswith(("branch-0 ", "branch-1 ", "branch-2 ")) for label in labels)
    assert any(f"{MOST_PATHS} of {MOST_PATHS + 3} paths" in text.get_text().replace("\n", " ") for text in figure.texts)


def test_gains_and_terms_stand_where_the_file_says(tmp_path: Path) -> None:
    result = gain()
    rows = gain_check.draw(written(tmp_path, "gain_check", result)).axes[0]
    drawn = [line.get_xdata().tolist() for line in rows.get_lines()[1:]]  # pyrefly: ignore
    for key, ends, value in zip(
        ("measured", "predicted", "from_dips", "quadratic", "cubic", "rest"), drawn[::2], drawn[1::2], strict=True
    ):
        assert ends == [result[key]["low"], result[key]["high"]]
        assert value == [result[key]["value"]]
    assert rows.get_yticklabels()[0].get_text() == "measured"


def test_the_first_order_is_shown_only_where_it_counts(tmp_path: Path) -> None:
    for is_average in (True, False):
        directory = written(tmp_path / str(is_average), "gain_check", gain(is_average))
        labels = [label.get_text() for label in gain_check.draw(directory).axes[0].get_yticklabels()]
        assert ("first order" in labels) is not is_average


def test_the_parabola_has_the_slope_and_curvature_of_the_file(tmp_path: Path) -> None:
    result = gain()
    figure = gain_check.draw(written(tmp_path, "gain_check", result))
    for axes, line in zip(figure.axes[1:], result["lines"], strict=True):
        _, parabola, measured = axes.get_lines()
        assert measured.get_ydata().tolist() == line["losses"]  # pyrefly: ignore
        fitted = np.polyfit(parabola.get_xdata(), parabola.get_ydata(), 2)  # pyrefly: ignore
        assert fitted == pytest.approx([line["curvature"] / 2, line["slope"], line["losses"][1]])


def test_what_was_not_measured_is_told(tmp_path: Path) -> None:
    for module in (connectivity, gain_check):
        with pytest.raises(InputError, match="is missing"):
            module.draw(ReportDirectory(tmp_path))
