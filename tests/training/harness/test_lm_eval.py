"""The adapter with lm-eval itself, on local task files and a tiny model; reading lm-eval's task list takes seconds."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from training.config import Recipe
from training.errors import InputError
from training.harness.command import Asked, run_harness
from training.harness.scores import ScoreTable
from training.model.embedded import write_tiny_llama
from training.model.load import load_model, load_tokenizer
from training.run_directory import RunDirectory, read_json, write_json, write_text

pytest.importorskip("lm_eval")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::SyntaxWarning"),
]

TASK = """
task: {name}
tag: local_tasks
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}, train: {data}}}}}
output_type: multiple_choice
test_split: test
fewshot_split: train
num_fewshot: {shots}
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
GROUP = """
group: local_group
task: [sums, products]
aggregate_metric_list:
  - {metric: acc, weight_by_size: false}
"""
SIZES = {"sums": 12, "products": 5}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, the second with two examples in front of each item, and a group of both."""
    folder = tmp_path_factory.mktemp("tasks")
    rng = np.random.default_rng(0)
    for shots, (name, size) in zip((0, 2), SIZES.items(), strict=True):
        words = ["".join(letters) for letters in rng.choice(list("abcdefghij"), (size * 3, 4))]
        rows = [
            {"question": f"{name} {row}:", "choices": words[3 * row : 3 * row + 3], "answer": int(rng.integers(3))}
            for row in range(size)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, data=folder / f"{name}.jsonl", shots=shots))
    (folder / "group.yaml").write_text(GROUP)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run whose arms joint and twin are one model, and merit-1d another."""
    directory = RunDirectory(tmp_path / "run")
    start = {"precision": "float64"}
    arms = ["base", "joint", "twin", "merit-1d"]
    recipe = Recipe.model_validate(
        {"mixture": {"tasks": ["x"]}, "arms": arms, "start": start, "evaluation": {"bootstrap": 100}}
    )
    write_text(directory.config, recipe.to_toml())
    write_tiny_llama(directory.base)
    for number, arm in enumerate(arms[1:]):
        folder = directory.arm(arm) / "model"
        shutil.copytree(directory.base, folder)
        state = load_file(folder / "model.safetensors")
        generator = torch.Generator().manual_seed(max(1, number))
        for tensor in state.values():
            tensor += 0.3 * torch.randn(tensor.shape, generator=generator)
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        write_json(directory.arm(arm) / "arm.json", {})
    return directory


def asked(files: Path, *tasks: str, **changes: Any) -> Asked:
    values = {"arms": [], "limit": None, "batch_size": 3, "include_path": files, "chat_template": False}
    return Asked(tasks=tasks, **(values | changes))


def evaluated(run: RunDirectory, wanted: Asked) -> tuple[tuple[ScoreTable, ...], list[str]]:
    """The tables, and what was evaluated for them."""
    console = Console(width=200)
    with console.capture() as capture:
        tables = run_harness(run.root, wanted, console)
    return tables, [line.partition(",")[0] for line in capture.get().splitlines() if "(task " in line]


def expected_scores(folder: Path, file: Path) -> list[float]:
    """Whether the right choice has the largest log-likelihood after the question: computed choice by choice."""
    model, tokenizer = load_model(folder, "float64", torch.device("cpu")), load_tokenizer(folder)
    scores = []
    for row in map(json.loads, file.read_text().splitlines()):
        likelihoods = []
        for choice in row["choices"]:
            prompt, answer = (
                tokenizer(text, add_special_tokens=False).input_ids for text in (row["question"], f" {choice}")
            )
            with torch.no_grad():
                logits = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
            likelihoods.append(
                math.fsum(float(logits[place, token]) for place, token in zip(places, answer, strict=True))
            )
        scores.append(float(np.argmax(likelihoods) == row["answer"]))
    return scores


def test_scores_are_those_of_the_model_item_by_item_and_the_group_is_their_mean(run: RunDirectory, files: Path) -> None:
    tables, lines = evaluated(run, asked(files, "local_group", "sums"))
    assert lines == [f"{arm}: {task}" for arm in ("base", "joint", "twin", "merit-1d") for task in SIZES]
    assert [(table.benchmark, table.items) for table in tables] == [("local_group", 17), ("sums", 12)]
    values = []
    for arm, folder in (("base", run.base), ("merit-1d", run.arm("merit-1d") / "model")):
        scores = expected_scores(folder, files / "sums.jsonl")
        stored = {task: read_json(run.harness(arm, task))["metrics"]["acc,none"] for task in SIZES}
        assert stored["sums"]["scores"] == scores
        assert stored["sums"]["items"] == list(range(12))
        by_arm = [{score.arm: score for score in table.scores}[arm].value for table in tables]
        assert by_arm == pytest.approx([np.mean([np.mean(one["scores"]) for one in stored.values()]), np.mean(scores)])
        values.append(scores)
    assert values[0] != values[1]
    assert 0 < np.mean(values[0]) < 1
    twins = {score.arm: score.difference for score in tables[0].scores}
    assert (twins["twin"].low, twins["twin"].high) == (0.0, 0.0)  # the same examples in front of the same items
    written = read_json(run.harness_table(".json"))
    assert [table["benchmark"] for table in written] == ["local_group", "sums"]
    assert "| merit-1d |" in run.harness_table(".md").read_text()


def test_what_stands_is_not_run_again_and_what_is_damaged_or_changed_is(run: RunDirectory, files: Path) -> None:
    two = {"arms": ["joint", "merit-1d"]}
    first, lines = evaluated(run, asked(files, "sums", "products", **two))
    assert len(lines) == 4
    by_tag, lines = evaluated(run, asked(files, "local_tasks", **two))
    assert lines == []
    assert sorted(by_tag, key=lambda table: table.benchmark) == sorted(first, key=lambda table: table.benchmark)
    run.harness("joint", "sums").write_bytes(run.harness("joint", "sums").read_bytes()[:-30])
    repaired, lines = evaluated(run, asked(files, "sums", "products", **two))
    assert lines == ["joint: sums"]
    assert repaired == first
    weights = run.arm("merit-1d") / "model" / "model.safetensors"
    shutil.copyfile(run.base / "model.safetensors", weights)
    assert evaluated(run, asked(files, "sums", **two))[1] == ["merit-1d: sums"]
    assert evaluated(run, asked(files, "sums", limit=7, **two))[1] == ["joint: sums", "merit-1d: sums"]
    assert evaluated(run, asked(files, "sums", limit=7, batch_size=1, **two))[1] == []
    assert evaluated(run, asked(files, "sums", limit=7, chat_template=True, **two))[1] == [
        "joint: sums",
        "merit-1d: sums",
    ]


def test_items_that_changed_are_asked_again(run: RunDirectory, files: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(files, own)
    (own / "sums.yaml").write_text(TASK.format(name="sums", data=own / "sums.jsonl", shots=0))
    wanted = asked(own, "sums", arms=["base"])
    assert evaluated(run, wanted)[1] == ["base: sums"]
    rows = (own / "sums.jsonl").read_text()
    (own / "sums.jsonl").write_text(rows.replace("sums 3:", "sums three:"))
    assert evaluated(run, wanted)[1] == ["base: sums"]
    assert evaluated(run, wanted)[1] == []


REFUSED: dict[str, tuple[Callable[[Path], Asked], str]] = {
    "unknown": (
        lambda files: asked(files, "sumz"),
        r"lm-eval has no task 'sumz' \(it has .*sums.*\); correct --tasks, or add its file by --include-path",
    ),
    "out of reach": (
        lambda files: asked(files, "sums", "arc_easy"),
        r"task 'arc_easy' of lm-eval cannot be loaded \(.*\); with a hub out of reach its data must be there already",
    ),
}


@pytest.mark.parametrize(("wanted", "line"), REFUSED.values(), ids=REFUSED)
def test_a_task_that_is_not_to_be_had_is_told_before_anything_is_evaluated(
    run: RunDirectory, files: Path, wanted: Callable[[Path], Asked], line: str
) -> None:
    with pytest.raises(InputError, match=line):
        run_harness(run.root, wanted(files), Console())
    assert not run.harness_table(".json").parent.exists()


def test_a_model_without_a_chat_template_is_not_asked_by_messages(run: RunDirectory, files: Path) -> None:
    (run.base / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match=r"the tokenizer in \S+base has no chat template; leave out --chat-template"):
        run_harness(run.root, asked(files, "sums", arms=["base"], chat_template=True), Console())
