import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.branches.metrics import append_line, keep_lines

values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"]))
records = st.lists(st.dictionaries(st.sampled_from(["step", "loss", "Größe"]), values, min_size=1), max_size=6)


def refuse(constant: str) -> None:
    raise AssertionError(constant)


@settings(max_examples=100)
@given(records)
def test_every_line_is_one_strict_json_object_with_null_for_what_json_cannot_say(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict]
) -> None:
    path = tmp_path_factory.mktemp("metrics") / "deep" / "metrics.jsonl"
    for line in lines:
        append_line(path, **line)
    read = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()] if lines else []
    expected = [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in line.items()}
        for line in lines
    ]
    assert read == expected


@settings(max_examples=50)
@given(records, st.integers(0, 8))
def test_keeping_lines_cuts_the_end_and_leaves_the_rest_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict], count: int
) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    for line in lines:
        append_line(path, **line)
    before = path.read_bytes().split(b"\n") if lines else []
    keep_lines(path, count)
    assert path.exists() == bool(lines)
    if lines:
        kept = min(count, len(lines))
        assert path.read_bytes() == b"".join(line + b"\n" for line in before[:kept])


def test_a_line_that_was_cut_by_a_kill_goes_with_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_line(path, step=1)
    with open(path, "a") as file:
        file.write('{"step": 2, "lo')
    keep_lines(path, 1)
    append_line(path, step=2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]
