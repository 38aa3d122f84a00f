import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from training.arms.names import parse_arm
from training.branches.spec import BranchSpec
from training.config import BranchSettings, Recipe
from training.evaluation.noise import Interval
from training.evaluation.retention_reference import ReferenceAnswer, freeze_reference
from training.evaluation.retention_results import Retention, RetentionDifference, RetentionResults
from training.keyed_file import save_keyed
from training.results.summary import ArmRow, Difference, Results, Summary, summarise
from training.results.summary_page import COLUMNS, ONE_SEED, VERDICTS, difference_line, markdown, terminal_table
from training.run_directory import BranchDirectory, RunDirectory, read_json, write_json

TASKS, OUTSIDE, PER_TASK = ("a", "b"), ("u",), 6
ARMS = ("base", "joint", "joint-equal-steps-2", "merit-1d", "random-2", "random-20")


def make_spec(seed: int, tasks: Sequence[str] = TASKS, split: str = "train") -> BranchSpec:
    return BranchSpec(
        tasks=dict.fromkeys(tasks, "hash"),
        split=split,
        start="start",
        trainable=["*"],
        objective="cross-entropy",
        precision="float32",
        max_length=None,
        seed=seed,
        examples=8,
        settings=BranchSettings(),
        sketch_size=16,
        sketch_seed=0,
    )


def write_evaluation(run: RunDirectory, name: str, level: float, generated: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    count = PER_TASK * (len(TASKS) + len(OUTSIDE))
    tokens = rng.integers(1, 5, count)
    columns = {
        "task": np.repeat(np.arange(len(TASKS) + len(OUTSIDE)), PER_TASK),
        "loss": level * tokens * rng.uniform(0.5, 1.5, count),
        "tokens": tokens,
        "correct": rng.integers(0, tokens + 1),
        "match": (rng.integers(0, 2, count) if generated else np.full(count, -1)).astype(np.int8),
    }
    outside = np.array([False] * len(TASKS) + [True] * len(OUTSIDE))
    save_keyed(run.evaluation(name), "key", tasks=np.array(TASKS + OUTSIDE), outside=outside, **columns)
    return columns


def write_branch(run: RunDirectory, spec: BranchSpec, tokens: int, steps: int, seconds: float, sketch: list) -> None:
    folder = BranchDirectory(run.branch(spec.hash))
    write_json(folder.done, {"tokens": tokens, "steps": steps, "seconds": seconds, "clip_rate": 0.0})
    sketches = np.array([[0.0, 0.0], sketch], np.float32)
    np.savez(folder.displacement, steps=[0, steps], norms=[0.0, 5.5], sketches=sketches)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Summary, dict[str, dict[str, np.ndarray]]]:
    """Two branches under merit-1d and random-2, one each under the others, and a primer of 11 tokens."""
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    recipe = Recipe.model_validate({"mixture": {"tasks": ["x"]}, "arms": ARMS, "evaluation": {"bootstrap": 200}})
    specs = {
        "base": [],
        "joint": [make_spec(0)],
        "joint-equal-steps-2": [make_spec(1)],
        "merit-1d": [make_spec(2, ["a"]), make_spec(2, ["b"])],
        "random-2": [make_spec(3, ["a"]), make_spec(3, ["b"])],
        "random-20": [make_spec(4)],
    }
    levels = dict(zip(ARMS, (3.0, 2.0, 2.2, 1.0, 1.5, 9.0), strict=True))
    columns = {name: write_evaluation(run, name, level) for name, level in levels.items()}
    primer = make_spec(9, split="primer")
    write_branch(run, primer, 11, 3, 1.0, [0, 0])
    for name, branches in specs.items():
        weights = [0.75, 0.25] if len(branches) > 1 else [1.0]
        write_json(run.arm(name) / "arm.json", {"weights": weights, "displacement": 4.5})
        for number, spec in enumerate(branches):
            write_branch(run, spec, 100 + number, 4 + number, 2.0 + number, [4.0, 0.0] if number == 0 else [0.0, 4.0])
            if len(branches) > 1:
                columns[spec.hash] = write_evaluation(run, spec.evaluation_name, 3.0 + number, generated=False)
    arms = [parse_arm(name, {}) for name in ARMS]
    return run, summarise(run, recipe, arms, specs, primer, {"mixture": 0.5}), columns


def task_means(columns: dict[str, np.ndarray], of: str, per: np.ndarray) -> np.ndarray:
    chosen = [columns["task"] == task for task in range(len(TASKS) + len(OUTSIDE))]
    return np.array([columns[of][mine].sum() / per[mine].sum() for mine in chosen])


def test_every_number_of_an_arm_is_the_one_its_files_give(case: Any) -> None:
    _, summary, columns = case
    for row in summary.rows:
        mine = columns[row.arm]
        losses, correct = (task_means(mine, of, mine["tokens"]) for of in ("loss", "correct"))
        matches = task_means(mine, "match", np.ones(len(mine["match"])))
        inside = mine["task"] < len(TASKS)
        assert row.loss.value == row.results.loss == pytest.approx(losses[:2].mean())
        assert row.results.token_weighted_loss == pytest.approx(
            mine["loss"][inside].sum() / mine["tokens"][inside].sum()
        )
        assert row.results.accuracy == pytest.approx(correct[:2].mean())
        assert row.results.exact_match == pytest.approx(matches[:2].mean())
        assert (row.results.unseen_loss, row.results.unseen_exact_match) == pytest.approx((losses[2], matches[2]))
        assert row.loss.low <= row.loss.value <= row.loss.high


def test_costs_count_the_primer_once_for_every_arm_that_stands_on_it(case: Any) -> None:
    _, summary, _ = case
    rows = {row.arm: row for row in summary.rows}
    costs = {
        name: (row.branches, row.tokens, row.steps, row.seconds, row.longest_seconds) for name, row in rows.items()
    }
    assert costs["base"] == (0, 0, 0, 0, 0.0)
    assert costs["joint"] == (1, 111, 4, 2.0, 2.0)
    assert costs["merit-1d"] == (2, 212, 5, 5.0, 3.0)


def test_gain_is_the_branches_weighted_loss_minus_that_of_their_merge(case: Any) -> None:
    run, summary, columns = case
    rows = {row.arm: row for row in summary.rows}
    specs = [make_spec(2, ["a"]), make_spec(2, ["b"])]
    losses = [task_means(columns[spec.hash], "loss", columns[spec.hash]["tokens"])[:2].mean() for spec in specs]
    expected = 0.75 * losses[0] + 0.25 * losses[1]
    assert rows["merit-1d"].branch_loss == pytest.approx(expected)
    assert rows["merit-1d"].gain == pytest.approx(expected - rows["merit-1d"].loss.value)
    assert rows["joint"].gain is None
    assert set(read_json(run.evaluation_summary)) == {*ARMS} | {
        spec.evaluation_name for spec in [*specs, make_spec(3, ["a"]), make_spec(3, ["b"])]
    }


def test_the_displacement_of_an_arm_is_what_its_assembly_measured(case: Any) -> None:
    _, summary, _ = case
    assert {row.arm: row.displacement for row in summary.rows} == {"base": None} | dict.fromkeys(ARMS[1:], 4.5)


def test_differences_are_to_the_controls_and_say_what_their_interval_allows(case: Any) -> None:
    _, summary, _ = case
    pairs = {(entry.arm, entry.control): entry.verdict for entry in summary.differences}
    assert set(pairs) == {
        ("joint-equal-steps-2", "joint"),
        ("merit-1d", "joint"),
        ("merit-1d", "joint-equal-steps-2"),
        ("merit-1d", "random-2"),
        ("random-2", "joint"),
        ("random-2", "joint-equal-steps-2"),
        ("random-20", "joint"),
    }
    # All models have the same items up to a factor, so every difference is as certain as its sign.
    assert pairs["merit-1d", "joint"] == "lower"
    assert pairs["joint-equal-steps-2", "joint"] == pairs["random-20", "joint"] == "higher"
    assert Difference("a", "b", Interval(-0.1, -0.2, 0.1)).verdict == "inside the noise"


def test_the_written_summary_is_the_one_returned_and_the_same_again(case: Any) -> None:
    run, summary, _ = case
    written = read_json(run.summary(".json"))
    assert written == json.loads(json.dumps(summary.as_json()))
    assert [row["arm"] for row in written["arms"]] == list(ARMS)
    assert written["groups"] == {
        "merit-1d": [["a"], ["b"]],
        "random-2": [["a"], ["b"]],
        "random-20": [["a", "b"]],
    }
    assert [rule.name for rule in summary.partitions] == ["merit-1d", "random-2", "random-20"]


def test_without_generation_or_unseen_tasks_there_is_no_number_in_their_place(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    columns = write_evaluation(run, "base", 1.0, generated=False)
    inside = columns["task"] < len(TASKS)
    save_keyed(
        run.evaluation("base"),
        "key",
        tasks=np.array(TASKS),
        outside=np.zeros(2, bool),
        **{name: column[inside] for name, column in columns.items()},
    )
    recipe = Recipe.model_validate({"mixture": {"tasks": ["x"]}, "arms": ["base"]})
    (row,) = summarise(run, recipe, [parse_arm("base", {})], {"base": []}, None, {}).rows
    assert (row.results.exact_match, row.results.unseen_loss, row.results.unseen_exact_match) == (None, None, None)
    assert row.tokens == 0


def test_an_arm_that_was_fitted_and_groups_of_unlike_sizes_are_told(tmp_path: Path) -> None:
    run, names = RunDirectory(tmp_path), ("merit-1d", "worst-2@fitted")
    settings = {"bootstrap": 100, "branches": False}
    recipe = Recipe.model_validate({"mixture": {"tasks": ["x"]}, "arms": names, "evaluation": settings})
    columns = ("reliability", "examples_for_reliability_0.95", "participation_ratio")
    write_json(run.conflicts, {"tasks": TASKS} | {column: [1, 1] for column in columns})
    partition = {"matrix": "cosine", "swapped_on": None, "groups": [["a"], ["b"]]}
    for name, rule, samples in (("merit-1d", "pca", [8, 8]), ("worst-2", "worst", [4, 12])):
        write_json(run.partition(name), partition | {"name": name, "rule": rule, "samples": samples})
    write_json(run.fit("worst-2@fitted"), {"at_bound": False})
    spec = make_spec(0)
    write_branch(run, spec, 1, 1, 1.0, [0, 0])
    for name in names:
        write_evaluation(run, name, 1.0)
        write_json(run.arm(name) / "arm.json", {"weights": [1.0], "displacement": 1.0})
    arms = [parse_arm(name, {}) for name in names]
    summary = summarise(run, recipe, arms, {name: [spec] for name in names}, None, {})
    assert [row.fitted for row in summary.rows] == [False, True]
    assert [entry["fitted"] for entry in read_json(run.summary(".json"))["arms"]] == [False, True]
    assert any(doubt.startswith("worst-2: its largest group has 3.0 times") for doubt in summary.doubts)


# --- pages ------------------------------------------------------------------------------------------------------------


def table_cells(page: str) -> list[list[str]]:
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_line_of_the_markdown_table_has_every_column(case: Any) -> None:
    _, summary, _ = case
    page = markdown(summary, [("Conflicts", "pictures/map.png")])
    rows = table_cells(page)
    head, _, *body = rows[: 2 + len(ARMS)]
    assert head == [title for title, _ in COLUMNS]
    assert [row[0] for row in body] == list(ARMS)
    assert {len(row) for row in rows[: 2 + len(ARMS)]} == {len(COLUMNS)}
    assert rows[2 + len(ARMS) + 2 :] == [
        [entry.arm, VERDICTS[entry.verdict], entry.control, signed(entry.loss)] for entry in summary.differences
    ]
    assert "![Conflicts](pictures/map.png)" in page
    assert "- merit-1d (and random-2): a · b\n" in page
    assert ONE_SEED in page


def signed(interval: Interval) -> str:
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def test_groups_that_arms_share_are_told_once() -> None:
    groups = {"merit-1d": [["a"], ["b", "c"]], "random-2": [["b"], ["a", "c"]], "merit-1d+ties": [["a"], ["b", "c"]]}
    page = markdown(Summary((one_row(),), (), (), groups, (), {}, 0), [])
    assert "## Groups\n\n- merit-1d (and merit-1d+ties): a · b, c\n- random-2: b · a, c\n" in page


def one_row(**changes: Any) -> ArmRow:
    values: dict[str, Any] = {
        "arm": "joint",
        "branches": 1,
        "tokens": 1_234_567,
        "steps": 10,
        "seconds": 59.6,
        "longest_seconds": 1.0,
        "displacement": None,
        "loss": Interval(1.23456, 1.0, 1.5),
        "branch_loss": None,
        "gain": -0.0126,
        "fitted": False,
        "results": Results(1.0, 1.0, 0.5, None, None, 1.0),
    }
    return ArmRow(**values | changes)


def test_cells_are_rounded_and_a_missing_number_is_a_dash() -> None:
    page = markdown(Summary((one_row(),), (), (), {}, (), {}, 3), [])
    assert dict(zip(*(table_cells(page)[line] for line in (0, 2)), strict=True)) == {
        "arm": "joint",
        "branches": "1",
        "tokens": "1,234,567",
        "steps": "10",
        "train s": "60",
        "‖δ‖": "–",
        "loss [95 %]": "1.235 [1.000, 1.500]",
        "branch loss": "–",
        "gain": "-0.013",
        "token acc. %": "50.0",
        "exact %": "–",
        "unseen loss": "–",
        "unseen exact %": "100.0",
    }
    assert "## Differences" not in page
    assert "## Groups" not in page
    assert "Seed 3." in page


def test_the_page_says_which_arms_have_seen_validation_rows() -> None:
    rows = tuple(one_row(arm=arm, fitted=fitted) for arm, fitted in (("a", False), ("b@fitted", True), ("c", True)))
    said = "Fitted on validation rows, which no other arm has seen: b@fitted, c."
    assert said in markdown(Summary(rows, (), (), {}, (), {}, 0), [])
    assert "validation" not in markdown(Summary(rows[:1], (), (), {}, (), {}, 0), [])


def test_the_terminal_table_shows_every_arm_and_fits_in_eighty_characters() -> None:
    rows = tuple(one_row(arm=name) for name in ("base", "joint-equal-steps-2", "merit-2d-uniform"))
    console = Console(width=80, no_color=True)
    with console.capture() as capture:
        console.print(terminal_table(Summary(rows, (), (), {}, (), {}, 0)))
    shown = capture.get()
    assert max(map(len, shown.splitlines())) <= 80
    assert all(re.search(rf"^ ?{re.escape(row.arm)} .*1\.235 \[1\.000, 1\.500\]", shown, re.MULTILINE) for row in rows)


@pytest.mark.parametrize(
    ("interval", "sentence"),
    [
        (Interval(-0.2, -0.3, -0.1), "m: loss lower than j (-0.200 [-0.300, -0.100] nats)"),
        (Interval(0.2, 0.1, 0.3), "m: loss higher than j (+0.200 [+0.100, +0.300] nats)"),
        (Interval(0.0, -0.1, 0.1), "m: loss not separated from j (+0.000 [-0.100, +0.100] nats)"),
    ],
)
def test_a_comparison_claims_no_more_than_its_interval(interval: Interval, sentence: str) -> None:
    assert difference_line(Difference("m", "j", interval)) == sentence


RETENTION = RetentionResults(
    8,
    128,
    126.25,
    0.90625,
    {"base": Retention(*[Interval(0.5, 0.25, 0.75)] * 2, Interval(126.25, 110, 128), 0.5)},
    (RetentionDifference("joint", "start", *[Interval(-0.125, -0.25, 0.0625)] * 2, Interval(4.5, -1, 10)),),
)


def test_the_page_tells_retention_of_every_arm_where_it_was_measured() -> None:
    page = markdown(Summary((one_row(),), (), (), {}, (), {}, 0, RETENTION), [])
    head, _, base = table_cells(page)[3:6]
    assert dict(zip(head, base, strict=True)) == {
        "arm": "base",
        "loss [95 %]": "0.500 [0.250, 0.750]",
        "KL [95 %]": "0.500 [0.250, 0.750]",
        "answer length [95 %]": "126.2 [110.0, 128.0]",
        "cut %": "50.0",
    }
    *_, heads, _, difference = table_cells(page)
    assert dict(zip(heads, difference, strict=True)) == {
        "arm": "joint",
        "minus": "start",
        "loss [95 %]": "-0.125 [-0.250, +0.062]",
        "answer length [95 %]": "+4.5 [-1.0, +10.0]",
    }
    assert "On 8 general prompts" in page
    assert "length is 126.2 tokens, 90.6 % were cut at 128." in page
    assert "Retention" not in markdown(Summary((one_row(),), (), (), {}, (), {}, 0), [])


def test_retention_is_in_the_json_and_in_the_doubts_where_it_was_measured(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    write_evaluation(run, "base", 1.0)
    recipe = Recipe.model_validate(
        {"mixture": {"tasks": ["x"]}, "arms": ["base"], "evaluation": {"retention": 2, "bootstrap": 100}}
    )
    freeze_reference(run, "key", [ReferenceAnswer("a", "b", tuple(range(30)), 1, ended=True)] * 2)
    columns = {"loss": [1.0, 2.0], "divergence": [0.5, 0.0], "tokens": [4, 4], "length": [2, 3], "ended": [True] * 2}
    save_keyed(run.retention("base"), "key", **{name: np.array(column) for name, column in columns.items()})
    summary = summarise(run, recipe, [parse_arm("base", {})], {"base": []}, None, {})
    written = read_json(run.summary(".json"))["retention"]
    assert written["reference_length"] == 28
    assert written["arms"]["base"]["loss"]["value"] == 3 / 8
    assert written["arms"]["base"]["divergence"]["value"] == 0.5 / 8
    assert written["arms"]["base"]["length"]["value"] == 2.5
    assert any("28 tokens in base (2)" in doubt for doubt in summary.doubts)
