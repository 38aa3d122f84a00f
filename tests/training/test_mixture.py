import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import MixtureSettings
from training.errors import InputError
from training.intact import read_sealed, write_sealed
from training.mixture import Mixture, Task, freeze
from training.run_directory import content_hash, file_hash
from training.sources.row import single_turn

SPLITS = ("test", "calibration", "primer", "train")


def write_task(folder: Path, name: str, questions: Sequence[str]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"prompt": text, "response": f"{name} {text}"}) + "\n" for text in questions))
    return str(path)


def mixture_settings(*paths: str, outside: Sequence[str] = (), **settings: Any) -> MixtureSettings:
    sizes = {"test": 3, "calibration": 2, "primer": 1} | settings
    return MixtureSettings(tasks=list(paths), outside=list(outside), **sizes)


def questions(first: int, last: int) -> list[str]:
    return [f"question {number}" for number in range(first, last)]


def splits_of_questions(mixture: Mixture) -> dict[str, set[str]]:
    splits = defaultdict(set)
    for task in (*mixture.tasks, *mixture.outside):
        for split in task.hashes:
            for row in task.rows(split):
                splits[row.question].add(split)
    return splits


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@st.composite
def overlapping_tasks(draw: st.DrawFn) -> list[list[str]]:
    ranges = draw(st.lists(st.tuples(st.integers(0, 30), st.integers(20, 40)), min_size=2, max_size=4))
    return [questions(first, first + count) for first, count in ranges]


@settings(max_examples=60)
@given(tasks=overlapping_tasks(), seed=st.integers(0, 2**31), outside=st.booleans(), later=st.permutations(range(2)))
def test_no_question_is_in_two_splits_whichever_tasks_share_it_and_whenever_they_came(
    tmp_path_factory: pytest.TempPathFactory, tasks: list[list[str]], seed: int, outside: bool, later: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("mixture")
    paths = [write_task(folder / "in", f"t{number}", task) for number, task in enumerate(tasks)]
    settings = mixture_settings(*paths[:-1], outside=paths[-1:]) if outside else mixture_settings(*paths)
    freeze(mixture_settings(paths[later[0]]), seed, folder / "out")
    try:
        mixture = freeze(settings, seed, folder / "out")
    except InputError as error:
        assert "usable distinct questions" in str(error)  # noqa: PT017 many shared questions can leave too few
        return
    assert all(len(splits) == 1 for splits in splits_of_questions(mixture).values())


def test_equal_questions_of_two_tasks_meet_in_one_split_and_the_manifest_counts_those_that_cannot(
    tmp_path: Path,
) -> None:
    first, second = write_task(tmp_path, "a", questions(0, 40)), write_task(tmp_path, "b", questions(20, 60))
    mixture = freeze(mixture_settings(first, second, test=10, calibration=10), 0, tmp_path / "out")
    splits = [{row.question: split for split in task.hashes for row in task.rows(split)} for task in mixture.tasks]
    shared = splits[0].keys() & splits[1].keys()
    assert all(splits[0][question] == splits[1][question] for question in shared)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    dropped = [task["in_another_split_dropped"] for task in manifest["tasks"]]
    assert dropped == [0, 20 - len(shared)]
    assert len(shared) >= 10
    assert [sum(task.counts.values()) for task in mixture.tasks] == [40, 40 - dropped[1]]


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.permutations(questions(0, 20)))
def test_the_split_follows_from_seed_and_question_and_not_from_the_order_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, seed: int, order: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("mixture")
    one = freeze(mixture_settings(write_task(folder / "one", "t", questions(0, 20))), seed, folder / "first")
    other = freeze(mixture_settings(write_task(folder / "two", "t", order)), seed, folder / "second")
    assert one.tasks[0].hashes == other.tasks[0].hashes
    assert one.tasks[0].counts == {"test": 3, "calibration": 2, "primer": 1, "train": 14}
    another_seed = freeze(mixture_settings(write_task(folder / "one", "t", questions(0, 20))), seed + 1, folder / "3")
    assert another_seed.tasks[0].hashes != one.tasks[0].hashes


def test_validation_rows_are_taken_before_training_and_from_nothing_else(tmp_path: Path) -> None:
    paths = [write_task(tmp_path, name, questions(first, first + 40)) for name, first in (("a", 0), ("b", 20))]
    without = freeze(mixture_settings(*paths, outside=["reasoning_gym:lcm"]), 0, tmp_path / "without")
    mixture = freeze(mixture_settings(*paths, validation=5, outside=["reasoning_gym:lcm"]), 0, tmp_path / "with")
    assert [len(task.rows("validation")) for task in (*mixture.tasks, *mixture.outside)] == [5, 5, 0]
    assert all(len(splits) == 1 for splits in splits_of_questions(mixture).values())
    first, first_without = mixture.tasks[0], without.tasks[0]
    for split in ("test", "calibration", "primer"):
        assert first.hashes[split] == first_without.hashes[split]
    assert first_without.rows("train") == first.rows("validation") + first.rows("train")


def test_a_mixture_without_validation_keeps_the_key_it_had_before_there_was_any(tmp_path: Path) -> None:
    path = write_task(tmp_path, "t", questions(0, 20))
    task = freeze(mixture_settings(path), 0, tmp_path / "out").tasks[0]
    (entry,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["tasks"]
    plan = {"test": 3, "calibration": 2, "primer": 1, "train": None}
    assert entry["key"] == content_hash([0, plan, task.source, [file_hash(Path(path))]])
    assert set(task.counts) == set(SPLITS)
    assert task.rows("validation") == []


def test_freezing_twice_gives_the_same_bytes_in_one_folder_and_in_two(tmp_path: Path) -> None:
    settings = mixture_settings(
        "reasoning_gym:gcd", write_task(tmp_path, "t", questions(0, 20)), train=8, outside=["reasoning_gym:lcm"]
    )
    for folder in ("one", "two", "one"):
        freeze(settings, 5, tmp_path / folder)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert set(contents(tmp_path / "one")) == {
        "manifest.json",
        "outside/lcm/test.jsonl",
        *(f"{task}/{split}.jsonl" for task in ("gcd", "t") for split in SPLITS),
    }


@pytest.mark.parametrize("first", [True, False])
def test_adding_a_task_leaves_the_files_of_the_others_untouched(tmp_path: Path, first: bool) -> None:
    old, new = write_task(tmp_path, "old", questions(0, 30)), write_task(tmp_path, "new", questions(15, 60))
    freeze(mixture_settings(old), 0, tmp_path / "out")
    files = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (tmp_path / "out" / "old").iterdir()}
    mixture = freeze(mixture_settings(*((new, old) if first else (old, new))), 0, tmp_path / "out")
    assert files == {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
    assert {task.name for task in mixture.tasks} == {"old", "new"}
    assert all(len(splits) == 1 for splits in splits_of_questions(mixture).values())


def test_a_task_is_frozen_anew_when_its_source_seed_or_sizes_change(tmp_path: Path) -> None:
    path = write_task(tmp_path, "t", questions(0, 20))
    before = freeze(mixture_settings(path), 0, tmp_path / "out").tasks[0]
    assert freeze(mixture_settings(path, test=4), 0, tmp_path / "out").tasks[0].counts["test"] == 4
    assert freeze(mixture_settings(path), 1, tmp_path / "out").tasks[0].hashes != before.hashes
    write_task(tmp_path, "t", questions(0, 21))
    assert freeze(mixture_settings(path), 0, tmp_path / "out").tasks[0].counts["train"] == 15


AWKWARD = "a\u2028b\u2029c\u0085d\re\x1cf\x0cg\n|h"


def test_rows_come_back_as_they_were_whatever_line_breaks_their_text_holds(tmp_path: Path) -> None:
    path = write_task(tmp_path, "t", [f"{AWKWARD}{number}\U0001f600" for number in range(10)])
    task = freeze(mixture_settings(path), 0, tmp_path / "out").tasks[0]
    rows = [row for split in SPLITS for row in task.rows(split)]
    expected = [f"{AWKWARD}{number}\U0001f600" for number in range(10)]
    assert sorted(row.messages[0]["content"] for row in rows) == expected
    assert all(row.answer == f"t {row.messages[0]['content']}" for row in rows)


def test_duplicates_within_a_task_are_dropped_counted_and_the_first_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    lines = [{"prompt": f"q{number % 10}", "response": f"answer {number}"} for number in range(13)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = freeze(mixture_settings(str(path)), 0, tmp_path / "out").tasks[0]
    kept = sorted(row.answer for split in SPLITS for row in task.rows(split))
    assert kept == [f"answer {number}" for number in range(10)]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["tasks"][0]["duplicates_dropped"] == 3


def test_a_tasks_own_test_file_is_its_test_split(tmp_path: Path) -> None:
    source = {
        "path": write_task(tmp_path, "t", questions(0, 20)),
        "test_path": write_task(tmp_path, "u", questions(20, 24)),
    }
    (task,) = freeze(MixtureSettings(tasks=[source], test=3, calibration=2), 0, tmp_path / "out").tasks
    assert {row.messages[0]["content"] for row in task.rows("test")} == set(questions(20, 23))
    assert task.counts == {"test": 3, "calibration": 2, "train": 18}


def test_a_question_in_a_tasks_own_train_and_test_file_is_refused(tmp_path: Path) -> None:
    source = {
        "path": write_task(tmp_path, "t", questions(0, 20)),
        "test_path": write_task(tmp_path, "u", questions(19, 24)),
    }
    with pytest.raises(InputError, match="'t': 1 questions are in both path and test_path, first 'question 19'"):
        freeze(MixtureSettings(tasks=[source], test=3, calibration=2), 0, tmp_path / "out")


def test_a_mixture_that_cannot_be_frozen_is_refused_with_the_task_at_fault(tmp_path: Path) -> None:
    few, empty = write_task(tmp_path, "few", questions(0, 6)), write_task(tmp_path, "empty", [])
    with pytest.raises(InputError, match=r"'few' has 6 usable distinct questions and its splits need 7.*mixture.train"):
        freeze(mixture_settings(few), 0, tmp_path / "out")
    with pytest.raises(InputError, match="'empty' is empty"):
        freeze(mixture_settings(empty), 0, tmp_path / "out")
    with pytest.raises(InputError, match="'few' is in the mixture twice"):
        freeze(mixture_settings(few, outside=[few]), 0, tmp_path / "out")


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("{}\n")])
def test_a_frozen_file_that_changed_is_refused(tmp_path: Path, damage: Any) -> None:
    task = freeze(mixture_settings(write_task(tmp_path, "t", questions(0, 20))), 0, tmp_path / "out").tasks[0]
    damage(tmp_path / "out" / "t" / "train.jsonl")
    assert task.rows("test")
    with pytest.raises(InputError, match=r"train.jsonl is not the file that was frozen"):
        task.rows("train")


def test_an_absent_split_is_empty_and_an_absent_task_is_refused(tmp_path: Path) -> None:
    path = write_task(tmp_path, "t", questions(0, 20))
    mixture = freeze(mixture_settings(path, primer=0), 0, tmp_path / "out")
    assert mixture.task("t").rows("primer") == []
    with pytest.raises(InputError, match="no task 'u' in the mixture; it has t"):
        mixture.task("u")
    for manifest in ("[]", '{"tasks": [{}], "outside": []}', "not json"):
        (tmp_path / "out" / "manifest.json").write_text(manifest)
        with pytest.raises(InputError, match=r"manifest.json"):
            Mixture.load(tmp_path / "out")


def test_answers_of_a_file_task_match_up_to_white_space_and_no_further() -> None:
    matches = Task("t", Path(), {}, "exact", {}, {}).matcher()
    row = single_turn("q", "4  is\nit")
    assert matches(" 4 is it ", row)
    assert not matches("4 is It", row)
    assert not matches("4 isit", row)


def test_answers_of_a_generator_are_scored_by_the_generator(tmp_path: Path) -> None:
    (task,) = freeze(mixture_settings("reasoning_gym:gcd", train=2), 0, tmp_path / "out").tasks
    row = task.rows("test")[0]
    assert task.scoring == "reasoning_gym"
    assert task.matcher()(row.answer, row)
    assert not task.matcher()("x", row)


@pytest.mark.parametrize("name", ["outside", "manifest.json"])
def test_a_task_cannot_take_a_name_that_the_folder_uses(name: str, tmp_path: Path) -> None:
    settings = MixtureSettings.model_validate({"tasks": [{"dataset": "gcd", "name": name}]})
    with pytest.raises(InputError, match=name):
        freeze(settings, 0, tmp_path / "mixture")


def kinds(folder: Path) -> dict[str, str | None]:
    manifest = json.loads((folder / "manifest.json").read_text())
    return {entry["name"]: entry.get("kind") for entry in manifest["tasks"]}


def test_a_kind_comes_from_the_recipe_or_the_generators_package_and_enters_no_key(tmp_path: Path) -> None:
    path = write_task(tmp_path / "data", "a", questions(0, 12))
    tasks: list[Any] = [{"path": path}, "reasoning_gym:gcd"]

    def frozen(folder: str, kind: str | None) -> dict[str, bytes]:
        own = [tasks[0] | ({"kind": kind} if kind else {}), *tasks[1:]]
        freeze(
            MixtureSettings.model_validate({"tasks": own, "test": 3, "calibration": 2, "train": 4}),
            0,
            tmp_path / folder,
        )
        assert kinds(tmp_path / folder) == {"a": kind, "gcd": "arithmetic"}
        return contents(tmp_path / folder)

    without, given_kind = frozen("one", None), frozen("two", "translation")
    keys = [[entry["key"] for entry in json.loads(files["manifest.json"])["tasks"]] for files in (without, given_kind)]
    assert keys[0] == keys[1]
    # The kind follows the recipe even where the task is kept as it was frozen.
    written = (tmp_path / "one/a/train.jsonl").stat().st_mtime_ns
    assert frozen("one", "reading") != without
    assert (tmp_path / "one/a/train.jsonl").stat().st_mtime_ns == written


def test_a_mixture_frozen_before_there_were_kinds_stands_and_can_be_repaired(tmp_path: Path) -> None:
    path = write_task(tmp_path / "data", "a", questions(0, 12))
    chosen = MixtureSettings.model_validate(
        {"tasks": [{"path": path}, "reasoning_gym:gcd"], "test": 3, "calibration": 2, "train": 4}
    )
    folder = tmp_path / "frozen"
    freeze(chosen, 0, folder)
    manifest = read_sealed(folder / "manifest.json")
    assert manifest is not None
    for entry in manifest["tasks"]:
        del entry["kind"]
    write_sealed(folder / "manifest.json", manifest)
    files = {name: data for name, data in contents(folder).items() if name != "manifest.json"}
    assert [task.name for task in Mixture.load(folder).tasks] == ["a", "gcd"]
    (folder / "gcd/test.jsonl").write_text("damaged")
    freeze(chosen, 0, folder)
    assert {name: data for name, data in contents(folder).items() if name != "manifest.json"} == files
