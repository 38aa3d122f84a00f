import json
from pathlib import Path

import pytest

from training.config import DatasetsTask
from training.errors import InputError
from training.sources.hub_datasets import load_rows

pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


def task(path: Path) -> DatasetsTask:
    return DatasetsTask(source="datasets", path=str(path), name="sums")


def test_a_folder_that_datasets_reads_gives_its_rows_in_order(tmp_path: Path) -> None:
    records = [{"prompt": f"{n} + 1", "response": str(n + 1)} for n in range(5)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    rows = list(load_rows(task(tmp_path)))
    assert [(row.messages[0]["content"], row.answer) for row in rows] == [(f"{n} + 1", str(n + 1)) for n in range(5)]


def test_a_dataset_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'sums'.*nowhere"):
        list(load_rows(task(tmp_path / "nowhere")))


def test_a_bad_row_is_named_by_dataset_and_number(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"prompt": "1", "response": "2"}\n{"prompt": "2", "response": ""}\n')
    with pytest.raises(InputError, match=r"\[train\]:2: the assistant answer is empty"):
        list(load_rows(task(tmp_path)))
