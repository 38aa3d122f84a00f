import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import FileTask
from training.errors import InputError
from training.sources.files import expand_files, read_rows
from training.sources.row import Row, single_turn

LINE = b'{"prompt": "a", "response": "b"}\n'


def file_task(path: object, **settings: Any) -> FileTask:
    return FileTask(source="file", path=str(path), **settings)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
tables = st.lists(st.tuples(texts, texts.filter(str.strip)), min_size=1, max_size=8)


@settings(max_examples=60)
@given(rows=tables, ascii_only=st.booleans(), newline=st.sampled_from(["\n", "\r\n", "\n\n  \n"]))
def test_a_jsonl_and_a_parquet_file_of_the_same_rows_are_read_alike(
    tmp_path_factory: pytest.TempPathFactory, rows: list, ascii_only: bool, newline: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "alike"
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"question": q, "answer": a}, ensure_ascii=ascii_only) for q, a in rows]
    (folder / "rows.jsonl").write_bytes(newline.join(lines).encode())
    columns = {"question": [q for q, _ in rows], "answer": [a for _, a in rows]}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "rows.parquet")
    expected = [single_turn(*row) for row in rows]
    assert list(read_rows(folder / "rows.jsonl")) == expected
    assert list(read_rows(folder / "rows.parquet")) == expected


def test_conversations_are_read_from_parquet(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    pyarrow.parquet.write_table(pyarrow.table({"messages": [messages]}), tmp_path / "rows.parquet")
    assert list(read_rows(tmp_path / "rows.parquet")) == [Row(tuple(messages))]


@pytest.mark.parametrize(
    "bad",
    [b"{", b"[1]", b"nul", b'{"prompt": "a"}', b"\xff", b"[" * 100_000, b'{"prompt": "\\ud800", "response": "b"}'],
    ids=["cut", "list", "word", "column", "bytes", "depth", "surrogate"],
)
@settings(max_examples=10)
@given(before=st.integers(0, 300))
def test_every_bad_line_is_named_by_file_and_number(
    tmp_path_factory: pytest.TempPathFactory, bad: bytes, before: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "bad.jsonl"
    path.write_bytes(LINE * before + b"\n" + bad + b"\n" + LINE)
    with pytest.raises(InputError) as caught:
        list(read_rows(path))
    assert str(caught.value).startswith(f"{path}:{before + 2}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_bad_parquet_row_is_named_by_file_and_number_across_batches(tmp_path: Path) -> None:
    answers = ["b"] * 70_000
    answers[69_999] = ""
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["a"] * 70_000, "response": answers}), path)
    with pytest.raises(InputError, match="answer is empty") as caught:
        list(read_rows(path))
    assert str(caught.value).startswith(f"{path}:70000: ")


@settings(max_examples=150)
@given(position=st.integers(0, 10**6), value=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_parquet_file_gives_rows_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, cut: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    columns = {"prompt": [f"question {number}" for number in range(40)], "response": ["answer"] * 40}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    raw = np.frombuffer(path.read_bytes(), np.uint8).copy()
    position %= len(raw)
    raw[position] ^= value
    path.write_bytes(raw[:position].tobytes() if cut else raw.tobytes())
    try:
        rows = list(read_rows(path))
    except InputError as error:
        assert str(error).startswith(str(path))  # noqa: PT017 a flipped text is still a text
        return
    assert not cut
    assert len(rows) <= 40


def test_one_task_per_file_named_by_its_stem_in_name_order(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.parquet", "c.jsonl", "notes.txt"):
        (tmp_path / name).touch()
    whole = expand_files(file_task(tmp_path))
    assert [(task.name, task.path) for task in whole] == [
        (name[0], str(tmp_path / name)) for name in ("a.parquet", "b.jsonl", "c.jsonl")
    ]
    assert expand_files(file_task(tmp_path / "*.jsonl")) == whole[1:]
    assert expand_files(file_task(tmp_path / "c.jsonl", name="other"))[0].name == "other"
    (single,) = expand_files(file_task(tmp_path / "c.jsonl", test_path=str(tmp_path / "b.jsonl")))
    assert single.test_path == str(tmp_path / "b.jsonl")


@pytest.mark.parametrize(
    ("path", "options", "complaint"),
    [
        ("nothing-*.jsonl", {}, "no .jsonl or .parquet file there"),
        ("empty", {}, "no .jsonl or .parquet file there"),
        ("missing.jsonl", {}, "no such file"),
        ("notes.txt", {}, "only .jsonl and .parquet"),
        ("*.jsonl", {"name": "one"}, "cannot share one name"),
        ("*.jsonl", {"test_path": "a.jsonl"}, "cannot share one name"),
        ("a.jsonl", {"test_path": "missing.jsonl"}, "missing.jsonl: no such file"),
        ("a.jsonl", {"test_path": "notes.txt"}, "notes.txt: only"),
        ("b c.jsonl", {}, "no usable name.*give the task a name"),
    ],
)
def test_files_that_cannot_be_tasks_are_refused(tmp_path: Path, path: str, options: dict, complaint: str) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("a.jsonl", "b c.jsonl", "notes.txt"):
        (tmp_path / name).touch()
    options = {key: str(tmp_path / value) if key == "test_path" else value for key, value in options.items()}
    with pytest.raises(InputError, match=complaint):
        expand_files(file_task(tmp_path / path, **options))
