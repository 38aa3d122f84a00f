from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.report.verdict import NEGLIGIBLE, beside_joint, decide
from tests.diagnostics.report.measured import around, connectivity, gain_check, losses
from training.evaluation.noise import Interval

FLAT = Interval(0.001, 0.0, 0.004)


@st.composite
def intervals(draw: st.DrawFn, lowest: float = -0.05) -> Interval:
    ends = st.floats(lowest, 0.05).map(lambda value: round(value, 4))
    low, value, high = sorted(draw(st.tuples(ends, ends, ends)))
    return Interval(value, low, high)


def test_merge_ready_when_nothing_is_lost_although_joint_training_is_better() -> None:
    results = [losses(), connectivity(FLAT, FLAT, FLAT), gain_check()]
    verdict = decide(results)
    assert verdict.answer == "merge-ready"
    assert "0.100 [0.090, 0.110] lower than the branches' average" in verdict.deciding
    assert "0.200 [0.190, 0.210] lower than the start's" in verdict.deciding
    assert beside_joint(losses()) == (
        "The merged model's loss is 0.300 [0.290, 0.310] higher than joint training's at equal tokens, and not "
        "separated from joint training's at equal steps (+0.005 [−0.005, +0.015])."
    )


def test_a_barrier_between_any_two_models_decides_and_is_named() -> None:
    verdict = decide([losses(), connectivity(FLAT, FLAT, around(0.5, 0.1))])
    assert verdict.answer == "not merge-ready"
    assert "between branch-2 and merged" in verdict.deciding
    assert "0.500 [0.400, 0.600]" in verdict.deciding


def test_a_barrier_that_fails_is_named_before_a_higher_one_that_is_not_certain() -> None:
    verdict = decide([losses(), connectivity(Interval(0.9, 0.0, 2.0), around(0.05), FLAT)])
    assert verdict.answer == "not merge-ready"
    assert "between branch-1 and merged" in verdict.deciding


def test_a_barrier_that_may_or_may_not_matter_is_undecided() -> None:
    for value in (NEGLIGIBLE / 2, 2 * NEGLIGIBLE):
        verdict = decide([losses(), connectivity(FLAT, Interval(value, 0.0, 0.05), FLAT)])
        assert verdict.answer == "undecided"
        assert "may or may not exceed" in verdict.deciding


def test_a_barrier_too_small_to_matter_is_no_barrier_however_certain() -> None:
    certain = Interval(0.006, 0.005, 0.007)
    assert decide([losses(), connectivity(certain, FLAT, FLAT)]).answer == "merge-ready"


def test_a_merge_worse_than_its_branches_is_not_ready() -> None:
    verdict = decide([losses(gain=around(-0.1)), connectivity(FLAT)])
    assert verdict.answer == "not merge-ready"
    assert verdict.deciding == "The merged model's loss is 0.100 [0.090, 0.110] higher than the branches' average."


def test_a_gain_that_may_be_a_negligible_loss_is_no_obstacle_and_one_that_may_be_more_is_open() -> None:
    answers = [decide([losses(gain=around(0.0, half)), connectivity(FLAT)]).answer for half in (0.005, 0.05)]
    assert answers == ["merge-ready", "undecided"]


def test_a_merge_worse_than_the_start_is_not_ready_and_one_like_it_is_undecided() -> None:
    worse = decide([losses(above_start=around(0.1)), connectivity(FLAT)])
    same = decide([losses(above_start=around(0.001)), connectivity(FLAT)])
    assert (worse.answer, same.answer) == ("not merge-ready", "undecided")
    assert "higher than the start's" in worse.deciding
    assert "not separated from the start's" in same.deciding


def test_what_depends_on_the_way_of_averaging_is_told_both_ways() -> None:
    verdict = decide([losses(macro_above_start=around(0.001)), connectivity(FLAT)])
    assert verdict.answer == "undecided"
    assert "lower than the start's; as a mean over tasks it is not separated" in verdict.deciding
    assert decide([losses(macro_gain=around(-0.1)), connectivity(FLAT)]).answer == "not merge-ready"


def test_what_was_not_measured_is_undecided_and_says_what_to_run() -> None:
    for results in ([], [losses()], [connectivity(FLAT)], [gain_check()]):
        verdict = decide(results)
        assert verdict.answer == "undecided"
        assert "not measured; run the same command without --only" in verdict.deciding
    assert "not measured" in beside_joint(None)


def test_a_failed_check_decides_even_where_others_were_not_measured() -> None:
    assert decide([losses(gain=around(-0.1))]).answer == "not merge-ready"
    assert decide([connectivity(around(0.5))]).answer == "not merge-ready"


def test_without_joint_training_nothing_is_said_about_it() -> None:
    assert beside_joint(losses(joint=False)).startswith("No jointly trained model was given")


@settings(max_examples=50)
@given(st.lists(intervals(lowest=0.0), min_size=1, max_size=3), intervals(), intervals())
def test_the_answer_follows_from_the_intervals(barriers: list[Interval], gain: Interval, above: Interval) -> None:
    verdict = decide([losses(gain, above), connectivity(*barriers)])
    fails = any(barrier.low > NEGLIGIBLE for barrier in barriers) or gain.high < 0 or above.low > 0
    holds = all(barrier.high <= NEGLIGIBLE for barrier in barriers) and gain.low >= -NEGLIGIBLE and above.high < 0
    assert verdict.answer == ("not merge-ready" if fails else "merge-ready" if holds else "undecided")
    assert {check.outcome for check in verdict.reasons} >= ({"fails"} if fails else set())
    assert verdict.deciding.endswith(".")
