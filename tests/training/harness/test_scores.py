import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from training.evaluation.noise import Interval
from training.harness.measure import Metric, collect_metrics
from training.harness.page import difference_line, markdown, terminal_table
from training.harness.scores import Score, ScoreTable, score_tables
from training.harness.tasks import Aggregate, Benchmark

ARMS = ("base", "joint", "merit-1d")
SINGLE = Benchmark("a", ("a",))


def metric(scores: Sequence[float], higher: bool | None = True) -> Metric:
    return Metric(float(np.mean(scores)), higher, tuple(range(len(scores))), tuple(map(float, scores)))


def group(by_size: bool, filters: tuple[str, ...] | None = None) -> Benchmark:
    return Benchmark("both", ("a", "b"), (Aggregate("acc", filters, by_size),))


def two_tasks() -> dict[str, dict[str, dict[str, Metric]]]:
    """Three arms on a task of 40 items and one of 10, which differ in how hard they are."""
    rng = np.random.default_rng(3)
    measured = {}
    for arm, level in zip(ARMS, (0.2, 0.5, 0.6), strict=True):
        scores = {"a": rng.random(40) < level, "b": rng.random(10) < level + 0.3}
        measured[arm] = {task: {"acc,none": metric(own)} for task, own in scores.items()}
    return measured


def mean_over(measured: dict, arm: str, by_size: bool) -> float:
    scores = [measured[arm][task]["acc,none"].scores for task in ("a", "b")]
    return np.concatenate(scores).mean() if by_size else np.mean([np.mean(own) for own in scores])


@pytest.mark.parametrize("by_size", [True, False])
def test_a_group_weighs_items_or_tasks_alike_as_it_says(by_size: bool) -> None:
    measured = two_tasks()
    (table,) = score_tables([group(by_size)], measured, 200, 0)
    for score in table.scores:
        assert score.value == pytest.approx(mean_over(measured, score.arm, by_size), rel=1e-12)
        assert score.interval.value == pytest.approx(score.value, rel=1e-12)
        assert score.interval.low <= score.value <= score.interval.high
    assert mean_over(measured, "joint", True) != pytest.approx(mean_over(measured, "joint", False))
    assert (table.benchmark, table.metric, table.items) == ("both", "acc", 50)


@pytest.mark.parametrize("by_size", [True, False])
def test_differences_are_of_pairs_from_joint_and_joint_has_none(by_size: bool) -> None:
    measured = two_tasks()
    (table,) = score_tables([group(by_size)], measured, 500, 0)
    scores = {score.arm: score for score in table.scores}
    assert scores["joint"].difference is None
    for arm in ("base", "merit-1d"):
        expected = mean_over(measured, arm, by_size) - mean_over(measured, "joint", by_size)
        assert scores[arm].difference.value == pytest.approx(expected)
    assert scores["base"].verdict == "lower than"
    assert scores["merit-1d"].verdict == "not separated from"


def test_the_interval_of_a_mean_has_the_width_that_its_standard_error_gives() -> None:
    scores = np.random.default_rng(0).random(400) < 0.3
    (table,) = score_tables([SINGLE], {"base": {"a": {"acc,none": metric(scores)}}}, 4000, 0)
    half = 1.96 * np.sqrt(scores.mean() * (1 - scores.mean()) / 400)
    interval = table.scores[0].interval
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.1)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_arms_that_score_alike_on_every_item_do_not_differ_whatever_the_items(seed: int, by_size: bool) -> None:
    rng = np.random.default_rng(seed)
    own = {"a": {"acc,none": metric(rng.random(7))}, "b": {"acc,none": metric(rng.random(5))}}
    (table,) = score_tables([group(by_size)], {"joint": own, "copy": own}, 50, 0)
    assert table.scores[1].difference == Interval(0.0, 0.0, 0.0)
    assert table.scores[1].verdict == "not separated from"


def test_every_arm_better_on_every_item_by_as_much_is_separated_without_width() -> None:
    base = np.random.default_rng(0).random(30)
    measured = {arm: {"a": {"f1,none": metric(base + step)}} for arm, step in (("joint", 0.0), ("arm", 0.125))}
    (table,) = score_tables([SINGLE], measured, 50, 0)
    difference = table.scores[1].difference
    assert (difference.low, difference.high) == pytest.approx((0.125, 0.125))
    assert table.scores[1].verdict == "higher than"


def test_a_metric_that_is_no_mean_over_items_has_its_value_and_no_interval() -> None:
    perplexity = Metric(12.5, False, (0, 1, 2), None)
    measured = {arm: {"a": {"word_perplexity,none": perplexity, "acc,none": metric([0, 1, 1])}} for arm in ARMS}
    tables = score_tables([SINGLE], measured, 50, 0)
    assert [table.metric for table in tables] == ["word_perplexity", "acc"]
    assert {(score.value, score.interval, score.difference) for score in tables[0].scores} == {(12.5, None, None)}
    assert all(score.interval for score in tables[1].scores)


def test_arms_with_a_metric_on_other_items_are_not_compared() -> None:
    measured = {"joint": {"a": {"acc,none": Metric(1.0, True, (0, 1), (1.0, 1.0))}}}
    measured["merit-1d"] = {"a": {"acc,none": Metric(0.5, True, (0, 2), (1.0, 0.0))}}
    (table,) = score_tables([SINGLE], measured, 50, 0)
    assert all(score.interval is score.difference is None for score in table.scores)


def test_without_joint_there_are_scores_and_no_differences() -> None:
    measured = {arm: own for arm, own in two_tasks().items() if arm != "joint"}
    (table,) = score_tables([group(True)], measured, 50, 0)
    assert all(score.interval and score.difference is None for score in table.scores)


def test_a_group_reports_the_filters_it_names_or_else_all() -> None:
    by_name = {"acc,strict": metric([0, 1]), "acc,loose": metric([1, 1]), "acc_norm,loose": metric([0, 0])}
    measured = {"joint": {"a": by_name, "b": by_name}}
    named = score_tables([group(True, ("loose",))], measured, 50, 0)
    assert [(table.metric, table.scores[0].value) for table in named] == [("acc (loose)", 1.0)]
    assert [table.metric for table in score_tables([group(True)], measured, 50, 0)] == ["acc (strict)", "acc (loose)"]


def test_the_same_seed_gives_the_same_intervals_whatever_else_is_reported() -> None:
    measured = two_tasks()
    alone = score_tables([SINGLE], measured, 50, 7)
    assert score_tables([group(True), SINGLE], measured, 50, 7)[1] == alone[0]
    assert score_tables([SINGLE], measured, 50, 8)[0] != alone[0]


def sample(item: int, filtered: str, **values: object) -> dict[str, object]:
    return {"doc_id": item, "filter": filtered, "metrics": list(values), **values}


def test_what_an_item_scored_is_kept_where_the_aggregate_is_the_mean_and_not_elsewhere() -> None:
    samples = [sample(1, "none", acc=True, bleu=("a", "b")), sample(0, "none", acc=np.float32(0.0), bleu=("c", "d"))]
    samples += [sample(0, "strict", acc=0), sample(1, "strict", acc=0), sample(0, "none", half=3.0)]
    aggregated = {"acc,none": 0.5, "bleu,none": 31.2, "acc,strict": 0.0, "half,none": 1.5, "alias": "a"}
    metrics = collect_metrics(aggregated, samples, {"acc": True, "bleu": False})
    assert metrics == {
        "acc,none": Metric(0.5, True, (0, 1), (0.0, 1.0)),
        "bleu,none": Metric(31.2, False, (0, 1), None),
        "acc,strict": Metric(0.0, True, (0, 1), (0.0, 0.0)),
        "half,none": Metric(1.5, None, (0,), None),
    }
    assert "acc,none" not in collect_metrics(aggregated | {"acc,none": float("nan")}, samples, {})


# --- pages ------------------------------------------------------------------------------------------------------------


def one_table(arms: Sequence[str]) -> ScoreTable:
    value, difference = Interval(0.25, 0.2, 0.3), Interval(-0.1, -0.1875, -0.0125)
    scores = [Score(arm, 0.25, value, None if arm == "joint" else difference) for arm in arms]
    return ScoreTable("mmlu", "acc", True, 14042, tuple(scores))


def printed(table: ScoreTable) -> str:
    console = Console(width=80, no_color=True)
    with console.capture() as capture:
        console.print(terminal_table(table))
    return capture.get()


def test_the_terminal_table_fits_in_eighty_characters_and_cuts_nothing() -> None:
    shown = printed(one_table(["joint", "joint-equal-steps-2", "merit-2d+task-arithmetic-mergekit@fitted"]))
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert "mmlu acc ↑, 14,042 items" in shown
    assert shown.count("0.250 [0.200, 0.300]") == 3
    assert shown.count("-0.100 [-0.188, -0.013]   yes") == 2


def test_a_table_says_of_each_difference_whether_it_is_separated_from_zero() -> None:
    scores = (
        Score("joint", 0.5, Interval(0.5, 0.4, 0.6), None),
        Score("apart", 0.6, Interval(0.6, 0.5, 0.7), Interval(0.1, 0.05, 0.15)),
        Score("covers", 0.6, Interval(0.6, 0.5, 0.7), Interval(0.1, -0.05, 0.25)),
    )
    table = ScoreTable("mmlu", "acc", True, 10, scores)
    lines = {line.split()[0]: line.split()[-1] for line in printed(table).splitlines() if line.strip()}
    assert (lines["apart"], lines["covers"]) == ("yes", "no")
    page = markdown([table], "All items.")
    assert difference_line(table, scores[1]) == "apart: mmlu acc higher than joint (+0.100 [+0.050, +0.150])"
    assert "- covers: mmlu acc not separated from joint (+0.100 [-0.050, +0.250])" in page
    assert [line["verdict"] for line in json.loads(json.dumps(table.as_json()))["scores"]] == [
        None,
        "higher than",
        "not separated from",
    ]


def test_the_page_has_a_row_per_arm_and_a_column_per_metric() -> None:
    arms = ["joint", "merit-1d"]
    page = markdown(
        [one_table(arms), ScoreTable("wikitext", "ppl", False, 62, (Score("joint", 9.5, None, None),) * 2)], ""
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    assert rows[0] == ["arm", "mmlu acc ↑ [95 %]", "wikitext ppl ↓ [95 %]"]
    assert rows[2:] == [[arm, "0.250 [0.200, 0.300]", "9.500"] for arm in arms]
    assert "Items: mmlu 14,042, wikitext 62." in page
