"""Every experiment has a picture, it fits on its page, and it shows the numbers of the files."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from figures.catalogue import CATALOGUE, Source
from figures.simulation.intervals import mean_intervals
from figures.simulation_result import SimulationResult
from figures.style import save
from training.errors import InputError, MissingInput

NAMES = [entry.name for entry in CATALOGUE if entry.source is Source.SIMULATION]
SIMPLEST = ("merged_against_gain", "sign_descent_cancellation")
"""Drawn in every run of the tests; the others' fit on the page is a slow test."""

Results = Callable[..., SimulationResult]


@cache
def _drawn(make: Results, name: str) -> Figure:
    return import_module(f"figures.simulation.{name}").draw(make(name))


def panel(figure: Figure, title: str) -> Axes:
    """The panel whose title starts so, however it is broken into lines."""
    return next(
        axes
        for axes in figure.axes
        if " ".join(axes.get_title(loc="left").replace("\xa0", " ").split()).startswith(title)
    )


def assert_fits(figure: Figure) -> None:
    box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) > 0


def assert_shows(axes: Axes, samples: np.ndarray) -> None:
    """A curve of the panel has the means of ``samples`` [values, n], and a band their intervals."""
    expected = mean_intervals(samples)
    curves = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
    assert any(curve.shape == expected.mean.shape and np.allclose(curve, expected.mean) for curve in curves)
    bands = [
        np.asarray(band.get_paths()[0].vertices)[:, 1] for band in axes.collections if isinstance(band, PolyCollection)
    ]
    ends = np.concatenate([expected.low, expected.high])
    assert any(all(np.isclose(band, end).any() for end in ends) for band in bands)


def test_every_experiment_has_a_picture() -> None:
    experiments = Path(__file__).parents[3] / "simulations"
    named = {path.stem for path in experiments.glob("*.py") if "\nclass Config:" in path.read_text(encoding="utf-8")}
    assert set(NAMES) == named


@pytest.mark.parametrize(
    "name", [name if name in SIMPLEST else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_no_writing_leaves_the_picture(small_result: Results, name: str) -> None:
    assert_fits(_drawn(small_result, name))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_values_of_a_knob_find_room(small_result: Results, name: str) -> None:
    assert_fits(import_module(f"figures.simulation.{name}").draw(small_result(name, longest=True)))


@pytest.mark.parametrize("name", NAMES)
def test_a_result_without_its_findings_is_an_input_error(small_result: Results, name: str) -> None:
    with pytest.raises(InputError, match=f"python -m simulations {name}"):
        import_module(f"figures.simulation.{name}").draw(replace(small_result(name), findings={}))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["drift_corrected_merge"])
def test_equal_results_give_equal_bytes(small_result: Results, name: str, tmp_path: Path) -> None:
    draw = import_module(f"figures.simulation.{name}").draw
    first, second = (save(draw(small_result(name)), tmp_path / side, name) for side in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_losses_over_learning_rates_are_the_file_s(small_result: Results) -> None:
    result, figure = small_result("learning_rate_sweep"), _drawn(small_result, "learning_rate_sweep")
    arms = result.arrays["arms"].tolist()
    for sampling, title in enumerate(("loss, with replacement", "loss, reshuffled")):
        for arm in ("joint 1 epoch", "joint 2 epochs", "PCA of cosines, 2 groups", "random, 8 groups"):
            assert_shows(panel(figure, title), result.arrays["loss"][sampling, arms.index(arm)])


def test_tuned_losses_and_predictions_are_the_file_s(small_result: Results) -> None:
    result, figure = small_result("learning_rate_sweep"), _drawn(small_result, "learning_rate_sweep")
    tuned = panel(figure, "loss at the best rate")
    expected = result.arrays["loss"].min(axis=2).mean(axis=-1)
    for line, means in zip(tuned.lines, expected, strict=True):
        np.testing.assert_allclose(np.asarray(line.get_xdata()), means)
    told = result.findings["what reshuffling leaves of the advantage of 2 PCA groups over random ones"]["predicted"]
    left_over = panel(figure, "left of PCA's advantage")
    assert any(np.allclose(np.asarray(line.get_ydata()), list(told.values())) for line in left_over.lines)


def test_points_are_gain_and_merged_loss_over_the_branch_loss(small_result: Results) -> None:
    result, figure = small_result("merged_against_gain"), _drawn(small_result, "merged_against_gain")
    points = panel(figure, "heterogeneity 1").collections
    assert len(points) == 4
    for mixture, drawn in enumerate(points):
        branch, gain, merged = (
            result.arrays[name][1, 0, -1, mixture] for name in ("branch_loss", "gain", "merged_loss")
        )
        np.testing.assert_allclose(np.asarray(drawn.get_offsets()), np.stack([gain, merged], axis=1) / branch.mean())
        assert drawn.get_rasterized()


def test_without_unequal_hessians_there_is_nothing_to_correlate(small_result: Results) -> None:
    result = small_result("merged_against_gain")
    shared = replace(result, arrays={**result.arrays, "heterogeneity": np.zeros(2)})
    with pytest.raises(MissingInput, match="every heterogeneity tried is zero"):
        import_module("figures.simulation.merged_against_gain").draw(shared)


def test_rows_of_split_rules_are_shares_of_the_optimum(small_result: Results) -> None:
    result, figure = small_result("split_rules"), _drawn(small_result, "split_rules")
    shares = panel(figure, "share of the optimum")
    column = result.arrays["rules"].tolist().index("cosine, centring none")
    means = result.arrays["ratios"][0, :, -1, :, column].mean(axis=-1)
    drawn = [float(np.asarray(line.get_xdata())[0]) for line in shares.lines]
    assert all(
        np.isclose(drawn, mean).any() for mean in [*means, *result.arrays["random_mean"][0, :, -1].mean(axis=-1)]
    )


def _curves(result: SimulationResult) -> list[tuple[str, np.ndarray]]:
    """Titles of panels, and samples [values, n] of a curve in each."""
    arrays = result.arrays
    return {
        "centring": lambda: [("alignment with the conflict, tilt 0.5", arrays["alignment"][1, :, -1, 3])],
        "recursive_splits": lambda: [
            ("SGD, equal tokens, η = 0.5", arrays["sgd_merged_loss"][1, 1, 1] / arrays["joint_loss"][1, 1])
        ],
        "heterogeneous_hessians": lambda: [
            ("gain of PCA", arrays["gain"][1, :, :, 0] / arrays["gain"][1].mean(axis=-1)),
            ("relative error", arrays["drift_error"]),
        ],
        "spectral_filtering": lambda: [
            ("loss on sharp directions, own", (arrays["losses"][1, 0, 2, 0] / arrays["start"][1, 0, 0].mean()).T)
        ],
        "drift_corrected_merge": lambda: [
            ("distance from joint", arrays["distance"][1]),
            ("corrected over plain", arrays["distance"][1] / arrays["distance"][0]),
        ],
        "least_drift_split": lambda: [
            ("distance over the mean", arrays["distance"][:, :, 0] / arrays["distance"].mean(axis=-1))
        ],
        "swap_on_gram": lambda: [
            ("saved, reshuffled", 1 - arrays["merged_loss"][2, 1, 1, 0] / arrays["merged_loss"][0, 1, 1, 0])
        ],
        "unbalanced_groups": lambda: [("bias, cut by sign", arrays["bias"][1, 0, 2])],
        "sign_descent_cancellation": lambda: [
            ("merged over joint length", arrays["length"][1]),
            ("simulated length, Adam, one", arrays["simulated_length"][2, 0]),
        ],
        "small_network": lambda: [
            (
                "PCA's merged loss less others, held-out, Adam",
                (arrays["merged_loss"][1, :, :, 0] - arrays["joint_equal_tokens"][1])[..., 1],
            )
        ],
    }[result.name]()


@pytest.mark.parametrize("name", NAMES[3:])
def test_curves_and_bands_are_means_and_intervals_over_instances(small_result: Results, name: str) -> None:
    figure = _drawn(small_result, name)
    for title, samples in _curves(small_result(name)):
        assert_shows(panel(figure, title), samples)
