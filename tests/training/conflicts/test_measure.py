import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import ConflictSettings, MixtureSettings, StartSettings
from training.conflicts.measure import pass_key, sketch_seed, summarise_conflicts
from training.conflicts.task_pass import measure_task, random_micro_batches
from training.errors import InputError
from training.interruption import Interrupted
from training.keyed_file import save_keyed, stored_key
from training.mixture import Mixture, Task, freeze
from training.model.batching import collate, encode
from training.model.load import load_model, load_tokenizer, place_model
from training.model.loss import answer_losses
from training.run_directory import RunDirectory, read_json

START = StartSettings(precision="float64")
SETTINGS = ConflictSettings(sketch_size=16_384, group_sketch_size=64, micro_batch_examples=2)


@pytest.fixture(scope="module")
def run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Mixture]:
    folder = tmp_path_factory.mktemp("run")
    tasks = []
    for name, answer in (("same", "yes"), ("also", "yes"), ("other", "7 7 7")):
        path = folder / f"{name}.jsonl"
        rows = [{"prompt": f"{name} {number} {'?' * (number % 5)}", "response": answer} for number in range(14)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        tasks.append(str(path))
    run = RunDirectory(folder / "run")
    place_model(tiny_folder, run.start)
    return run, freeze(MixtureSettings(tasks=tasks, test=2, calibration=6), 0, run.mixture)


def measure(run: RunDirectory, name: str, **changes: Any) -> None:
    arguments = {
        "key": f"key of {name}",
        "start": START,
        "settings": SETTINGS,
        "seed": 0,
        "device": "cpu",
        "report": lambda tokens: None,
        "stopping": lambda: False,
    }
    measure_task(run.root, name, **arguments | changes)


def exact_cosines(run: RunDirectory, mixture: Mixture) -> np.ndarray:
    model = load_model(run.start, "float64", torch.device("cpu"))
    tokenizer = load_tokenizer(run.start)
    gradients = []
    for task in mixture.tasks:
        model.zero_grad()
        for example in encode(task.rows("calibration"), tokenizer, 1024, task.name):
            answer_losses(model, collate([example], [0]), "cross-entropy")[0].sum().backward()
        gradients.append(torch.cat([parameter.grad.reshape(-1) for parameter in model.parameters()]).numpy())
    units = np.array([gradient / np.linalg.norm(gradient) for gradient in gradients])
    return units @ units.T


@pytest.mark.parametrize("mode", ["sketch", "paper"])
def test_conflicts_are_the_cosines_of_the_tasks_whole_gradients(run: tuple[RunDirectory, Mixture], mode: str) -> None:
    directory, mixture = run
    chosen = ConflictSettings.model_validate(SETTINGS.model_dump() | {"mode": mode, "stride": 1})
    reported: list[int] = []
    for task in mixture.tasks:
        measure(directory, task.name, settings=chosen, report=reported.append)
        assert stored_key(directory.sketches(task.name)) == f"key of {task.name}"
    measured = summarise_conflicts(directory, mixture.tasks, chosen, 0)
    exact = exact_cosines(directory, mixture)
    tolerance = 1e-5 if mode == "paper" else 5 / np.sqrt(SETTINGS.sketch_size)
    np.testing.assert_allclose(measured.estimate.cosine, exact, rtol=0, atol=tolerance)
    assert exact[0, 1] > exact[0, 2] + 5 * tolerance, "the instance tells tasks apart"
    record = read_json(directory.conflicts)
    assert record["cosine"] == measured.estimate.cosine.tolist()
    assert record["tasks"] == ["same", "also", "other"]
    assert record["mode"] == mode
    assert record["train_samples"] == [6, 6, 6]
    tokenizer = load_tokenizer(directory.start)
    lengths = [sum(map(len, encode(task.rows("train"), tokenizer, 1024, "t"))) for task in mixture.tasks]
    assert record["train_tokens"] == measured.train_tokens.tolist() == lengths
    calibration = [encode(task.rows("calibration"), tokenizer, 1024, "t") for task in mixture.tasks]
    assert record["answer_tokens"] == [sum(example.answer_tokens for example in examples) for examples in calibration]
    assert sum(reported) == sum(len(example) for examples in calibration for example in examples)
    assert all(len(sums) == (2 if mode == "paper" else 3) for sums in measured.sums)
    assert all(needed is None or needed >= 0 for needed in record["examples_for_reliability_0.95"])


def test_a_pass_that_is_stopped_leaves_no_file_and_one_that_fails_names_its_task(
    run: tuple[RunDirectory, Mixture], tmp_path: Path
) -> None:
    directory, _ = run
    directory.sketches("same").unlink(missing_ok=True)
    with pytest.raises(Interrupted):
        measure(directory, "same", stopping=lambda: True)
    assert not directory.sketches("same").exists()
    with pytest.raises(InputError, match=r"'same'.*do not fit in the context of 8"):
        measure(directory, "same", start=START.model_copy(update={"max_length": 8}))


def test_a_task_without_a_gradient_is_an_input_error(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    tasks = [Task(name, tmp_path, {}, "exact", {}, {"train": 3}) for name in "ab"]
    for task, size in zip(tasks, (1.0, 0.0), strict=True):
        sums = size * np.ones((2, 4), np.float32)
        save_keyed(
            directory.sketches(task.name),
            "",
            sums=sums,
            counts=np.ones(2, int),
            participation=np.ones(2),
            train_tokens=3,
        )
    with pytest.raises(InputError, match="cannot be estimated: task 1 has a zero gradient"):
        summarise_conflicts(directory, tasks, SETTINGS, 0)
    assert not directory.conflicts.exists()


def test_the_key_of_a_pass_changes_with_everything_it_depends_on_and_nothing_else() -> None:
    def key(**changes: Any) -> str:
        hashes = {"calibration": "c", "train": "t", "test": "e"} | changes.pop("hashes", {})
        task = Task(changes.pop("name", "a"), Path(), {}, "exact", hashes, {"train": 3})
        arguments = {"start_sha256": "s", "start": START, "settings": SETTINGS, "seed": 0} | changes
        return pass_key(task, **arguments)

    different = [key(hashes={"calibration": "d"}), key(hashes={"train": "u"}), key(start_sha256="r"), key(seed=1)]
    different += [
        key(start=START.model_copy(update={name: value}))
        for name, value in {
            "trainable": ["a"],
            "precision": "float32",
            "objective": "squared-error",
            "max_length": 9,
        }.items()
    ]
    different += [
        key(settings=SETTINGS.model_copy(update={name: 17}))
        for name in ("sketch_size", "stride", "micro_batch_examples", "group_sketch_size")
    ]
    assert len({key(), *different}) == 1 + len(different)
    assert key(hashes={"test": "f"}) == key()


@settings(max_examples=100)
@given(st.integers(2, 40), st.integers(1, 12), st.integers(0, 2**62))
def test_random_micro_batches_take_every_example_once_in_groups_equal_up_to_one(
    examples: int, size: int, seed: int
) -> None:
    batches = random_micro_batches(examples, size, seed, "t")
    assert sorted(index for batch in batches for index in batch) == list(range(examples))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1
    assert len(batches) == max(2, round(examples / size))
    assert random_micro_batches(examples, size, seed, "t") == batches


def test_micro_batches_are_drawn_anew_for_each_task_and_seed() -> None:
    drawn = [random_micro_batches(20, 4, seed, task) for seed, task in ((0, "a"), (0, "b"), (1, "a"))]
    assert all(one != other for one, other in zip(drawn, drawn[1:] + drawn[:1], strict=True))
    assert drawn[0] != [list(range(first, first + 4)) for first in range(0, 20, 4)]


def test_gradients_and_displacements_of_a_run_have_one_sketch_seed() -> None:
    assert sketch_seed(3) == sketch_seed(3) != sketch_seed(4)
