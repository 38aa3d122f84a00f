import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.statistics.studies import draw_study, study_of
from training.statistics.difference import FEW, paired_difference
from training.statistics.variance_components import Components, Design

PARTS = Components(mixture=1.0, seed=0.2, partition=None, task=0.5, item=1.0)


@settings(max_examples=8)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([Design(3, 1, 1, 3, 4), Design(FEW, 1, 1, 3, 4), Design(1, 3, 1, 6, 4)])
)
def test_the_p_value_is_below_the_level_where_the_interval_leaves_zero_out(seed: int, design: Design) -> None:
    rng = np.random.default_rng(seed)
    found = paired_difference(draw_study(rng, PARTS, design, mean=1.0), 199, rng)
    assert found.method == ("bootstrap" if design.mixture == FEW else "student")
    if found.method == "student" or not 0.03 < found.p_value < 0.07:  # 199 draws have steps
        assert (found.p_value < 0.05) == found.interval.separates_from_zero
    assert found.interval.low <= found.interval.value <= found.interval.high


def test_the_verdict_says_which_side_over_what_and_what_it_is_silent_on() -> None:
    rng = np.random.default_rng(0)
    steady = Components(None, None, None, 0.01, 0.01)
    design = Design(1, 1, 1, 6, 8)
    for mean, side in ((-1.0, "is below zero"), (1.0, "is above zero"), (0.0, "is not separated from zero")):
        found = paired_difference(draw_study(rng, steady, design, mean=mean), 200, rng)
        assert (
            found.verdict
            == f"The difference {side} over 6 tasks and 48 items; says nothing of other mixtures or seeds."
        )


def test_where_nothing_varies_nothing_is_claimed() -> None:
    found = paired_difference(study_of(np.array([[5.0]])), 200, np.random.default_rng(0))
    assert found.verdict.startswith("The difference cannot be judged")


def test_where_only_items_vary_the_bootstrap_is_quoted() -> None:
    study = draw_study(np.random.default_rng(0), PARTS, Design(1, 1, 1, 1, 30))
    found = paired_difference(study, 200, np.random.default_rng(0))
    assert (found.method, found.student) == ("bootstrap", None)
    assert found.interval == found.bootstrap
