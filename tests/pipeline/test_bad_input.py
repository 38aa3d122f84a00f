"""Bad input through the command line: one line that names the offender and the remedy, and exit code 2.

Nothing is left half-written. What is refused before any worker starts runs in this process, the rest in one of its own.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.pipeline.refusals import leftovers, refusal, results, training
from training.model.embedded import write_tiny_llama
from training.run_directory import folder_hash

Told = Callable[..., str]


RECIPES: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown key": (("--set", "branch.learning_rat=1"), "unknown key branch.learning_rat; remove"),
    "unknown table": (("--set", "brunch.epochs=1"), "unknown key brunch; remove"),
    "wrong type": (("--set", "branch.learning_rate=fast"), r"branch.learning_rate: .*valid number.* \(got 'fast'\)"),
    "wrong sign": (("--set", "branch.epochs=-1"), r"branch.epochs: .* greater than 0"),
    "not finite": (("--set", "branch.learning_rate=nan"), r"branch.learning_rate: .*\(got 'nan'\)"),
    "list for a table": (("--set", "mixture=[1]"), "recipe .*: mixture: "),
    "list of the wrong things": (("--set", "mixture.tasks=[5]"), r"mixture.tasks.0: "),
    "no tasks": (("--set", "mixture.tasks=[]"), r"mixture.tasks: .*at least 1 item"),
    "table for a value": (("--set", "seed.of=1"), "recipe .*: seed: .*valid integer"),
    "table of a value": (("--set", "arms.of=1"), "'arms' is a value, not a table"),
    "no key": (("--set", "seed"), "'seed' is not of the form key.path=value"),
    "unknown arm": (("--set", 'arms=["merit-9z"]'), "merit-9z.*base, start, joint"),
    "arm of too many groups": (("--set", 'arms=["merit-3d"]'), "merit-3d makes 8 groups of 4 tasks; add tasks or drop"),
    "arm listed twice": (("--set", 'arms=["joint","joint"]'), "'joint' is listed twice"),
    "arm by two names": (("--set", 'arms=["random-2","random-2-s0"]'), "'random-2' and 'random-2-s0' are the same arm"),
    "soup of one": (("--set", 'arms=["soup-1"]'), "'soup-1': the number must be at least 2"),
    "soup of too many": (("--set", 'arms=["soup-1000000000000"]'), "at most 9999"),
    "name that is no file's": (
        ("--set", f'arms=["joint@0.{"1" * 300}"]'),
        "is no usable name; write it in at most 200",
    ),
    "more shares than rows": (
        ("--set", 'arms=["iid-13"]'),
        "'iid-13' needs 13 rows of every task and task 'gcd' has 12; add rows or",
    ),
    "interpolation of four": (
        ("--set", 'arms=["merit-2d+slerp"]'),
        "'merit-2d\\+slerp' interpolates between two branches and has 4; drop the arm",
    ),
    "strata of too few tasks": (
        ("--set", 'arms=["joint-stratified-merit-3d"]'),
        "merit-3d makes 8 groups of 4 tasks; add tasks or drop",
    ),
    "moments without Adam": (
        ("--set", 'arms=["merit-1d+ota"]', "--set", 'branch.optimizer="sgd"'),
        "'merit-1d\\+ota' reads Adam's second moments, which branch.optimizer = 'sgd' does not have; train with",
    ),
    "fit without validation": (
        ("--set", 'arms=["merit-1d+fitted"]'),
        "'merit-1d\\+fitted' is fitted on validation rows and mixture.validation is 0; set it",
    ),
    "unknown operator": (("--set", 'arms=["merit-1d+tise"]'), "'tise' is no merge operator; choose one of fitted, "),
    "operator on one branch": (("--set", 'arms=["joint+ties"]'), "'joint\\+ties' has one branch and nothing to merge"),
    "no scale": (("--set", 'arms=["joint@big"]'), "'joint@big': 'big' is no scale; end it in @fitted or a positive"),
    "wrong setting of an operator": (
        ("--set", "operators.sparse={operator='ties', density=2}"),
        r"operators.sparse: merge operator ties: density: .* less than or equal to 1 \(got '2'\)",
    ),
    "operator table without an operator": (
        ("--set", "operators.sparse.density=0.1"),
        "operators.sparse: there is no merge operator 'sparse'; choose one of",
    ),
    "operator that means another": (
        ("--set", "operators.ties.operator='dare'"),
        "operators.ties: 'ties' means another merge already; give the table another name",
    ),
    "split that means an arm": (
        ("--set", 'splits.iid-2=[["gcd"],["lcm"]]'),
        "splits.iid-2: 'iid-2' means another arm already; give the split another name",
    ),
    "unknown task": (("--set", 'mixture.tasks=["reasoning_gym:nothing"]'), "'nothing': .*; correct its name"),
    "wrong parameter of a task": (
        ("--set", 'mixture.tasks=[{dataset="gcd", parameters={sides=3}}]'),
        "'gcd': .*sides.*; correct its name or parameters",
    ),
    "task twice": (
        ("--set", 'mixture.tasks=["reasoning_gym:gcd","reasoning_gym:gcd"]'),
        "'gcd' is in the mixture twice",
    ),
    "task name that is a path": (
        ("--set", 'mixture.tasks=[{dataset="gcd", name="../../etc"}]'),
        "'../../etc' is no usable name: take letters",
    ),
    "markup in a task name": (
        ("--set", 'mixture.tasks=[{dataset="gcd", name="[/red]"}]'),
        r"name: '\[/red\]' is no usable name",
    ),
    "task outside a split": (
        ("--set", 'splits.mine=[["gcd"],["[bold]lcm[/bold]"]]', "--set", 'arms=["mine"]'),
        r"splits.mine names '\[bold\]lcm\[/bold\]', which is not in the mixture: gcd, lcm",
    ),
    "duration": (("--time-budget", "soon"), "--time-budget 'soon' is no duration; write 90s, 30m or 2h"),
}


@pytest.mark.parametrize(("settings", "line"), RECIPES.values(), ids=RECIPES)
def test_a_recipe_that_cannot_be_used_is_refused_before_any_work(
    told: Told, tmp_path: Path, settings: tuple[str, ...], line: str
) -> None:
    assert re.search(line, told("run", "smoke", "--out", tmp_path / "run", *settings))
    assert not (tmp_path / "run" / "base").exists()
    assert not leftovers(tmp_path)


@pytest.mark.parametrize(
    ("recipe", "line"),
    [
        (b"seed = ", r"mine.toml is not valid TOML: "),
        (b"seed = '\xff'", r"mine.toml is not valid TOML: .*utf-8"),
        (b"seed = 1", r"mine.toml: mixture: Field required"),
        (b"\x00", r"mine.toml is not valid TOML: "),
    ],
)
def test_a_recipe_file_that_cannot_be_read_is_named(told: Told, tmp_path: Path, recipe: bytes, line: str) -> None:
    (tmp_path / "mine.toml").write_bytes(recipe)
    assert re.search(line, told("run", tmp_path / "mine.toml", "--out", tmp_path / "run"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_an_unknown_recipe_is_told_with_the_known_ones_and_a_wrong_command_with_help(
    told: Told, tmp_path: Path
) -> None:
    for unknown in ("[bold]smoke[/bold]", str(tmp_path)):
        line = told("run", unknown, "--out", tmp_path / "run")
        assert line == f"error: no recipe {unknown!r}; give a TOML file or one of: all-arms, demo, smoke"
    assert told("run", "smoke") == "error: Missing option '--out'; see --help"
    assert "--seed" in told("run", "smoke", "--seed", 3)
    assert "jog" in told("jog")


def test_a_place_that_cannot_be_written_is_named(told: Told, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / ("long" * 80)):
        line = told("run", "smoke", "--out", out)
        assert str(tmp_path / out.relative_to(tmp_path).parts[0]) in line
        assert line.endswith("; give a path that can be used")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def rows(count: int, word: str = "add", **columns: str) -> str:
    return "".join(json.dumps({"prompt": f"{word} {n}", "response": f"{n}!"} | columns) + "\n" for n in range(count))


def conversation(*turns: tuple[str, str]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}) + "\n"


OWN_FILES: dict[str, tuple[dict[str, str], str, str]] = {
    "empty file": ({"a.jsonl": ""}, '["a.jsonl"]', "task 'a' is empty; give it rows or remove it"),
    "no file": ({}, '["a.jsonl"]', "a.jsonl: no such file; correct mixture.tasks"),
    "no match": ({}, '["*.jsonl"]', r"\*.jsonl: no .jsonl or .parquet file there; correct mixture.tasks"),
    "unknown suffix": ({"a.csv": "a,b"}, '["a.csv"]', "a.csv: only .jsonl and .parquet files can be tasks"),
    "twice": ({"a.jsonl": rows(9), "b/a.jsonl": rows(9)}, '["a.jsonl", "b/a.jsonl"]', "'a' is in the mixture twice"),
    "too few": (
        {"a.jsonl": rows(9)},
        '["a.jsonl"]',
        "'a' has 9 usable distinct questions .* need 11; add rows or lower",
    ),
    "shared question": (
        {"a.jsonl": rows(20), "t.jsonl": rows(30, word="sub") + rows(1)},
        '[{path="a.jsonl", test_path="t.jsonl"}]',
        "task 'a': 1 questions are in both path and test_path, first 'add 0'; remove them",
    ),
    "no answer": (
        {"a.jsonl": rows(3) + conversation(("user", "hi"))},
        '["a.jsonl"]',
        r"a.jsonl:4: the last message is not an assistant answer to something; add the answer or drop",
    ),
    "empty answer": (
        {"a.jsonl": rows(3) + conversation(("user", "hi"), ("assistant", " \n"))},
        '["a.jsonl"]',
        "a.jsonl:4: the assistant answer is empty; give an answer or drop the row",
    ),
    "answer that is no text": (
        {"a.jsonl": '{"prompt": "q", "response": 3}'},
        '["a.jsonl"]',
        "a.jsonl:1: .*must hold text",
    ),
    "unknown columns": ({"a.jsonl": '{"x": "[/red]"}'}, '["a.jsonl"]', r"a.jsonl:1: found columns \['x'\]; rename"),
    "no JSON": ({"a.jsonl": rows(1) + "{"}, '["a.jsonl"]', "a.jsonl:2: not valid JSON .*; one JSON object per line"),
    "no Parquet": ({"a.parquet": "PAR1"}, '["a.parquet"]', "a.parquet is not a readable Parquet file"),
    "markup in a file name": ({"[bold].jsonl": rows(9)}, '["[[]bold].jsonl"]', r"'\[bold\]' is no usable name"),
}


OWN_RECIPE = """\
arms = ["joint"]

[mixture]
tasks = {tasks}
test = 4
calibration = 4
primer = 2

[start]
model = "{model}"

[resources]
workers = 1
"""


def own_recipe(folder: Path, files: dict[str, str], tasks: str, model: str = "tiny-llama") -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    recipe = folder / "mine.toml"
    recipe.write_text(OWN_RECIPE.format(tasks=tasks, model=model))
    return recipe


@pytest.mark.parametrize(("files", "tasks", "line"), OWN_FILES.values(), ids=OWN_FILES)
def test_own_files_that_cannot_be_used_are_refused_by_name(
    told: Told, tmp_path: Path, files: dict[str, str], tasks: str, line: str
) -> None:
    recipe = own_recipe(tmp_path, files, tasks)
    assert re.search(line, told("run", recipe, "--out", tmp_path / "run"))
    assert list((tmp_path / "run" / "mixture").glob("*")) == []
    assert not leftovers(tmp_path / "run")


def test_names_and_paths_are_printed_as_they_are(told: Told, tmp_path: Path) -> None:
    odd = tmp_path / "[bold] :smile:  two [link=x]"
    recipe = own_recipe(odd, {"a.jsonl": ""}, '["a.jsonl"]')
    assert told("run", recipe, "--out", tmp_path / "run") == "error: task 'a' is empty; give it rows or remove it"
    recipe = own_recipe(odd, {"a.jsonl": "{"}, '["a.jsonl"]')
    assert told("run", recipe, "--out", tmp_path / "run").startswith(f"error: {odd}/a.jsonl:1: not valid JSON")
    assert f"{odd}/b" in told("merge", "--branch", odd / "b", "--out", odd / "c")


def write_model(folder: Path, change: Callable[[dict[str, torch.Tensor]], object] = lambda state: None) -> Path:
    write_tiny_llama(folder)
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder


LONG = "x" * 2000
ROWS_THE_MODEL_REFUSES = {
    "answer beyond the context": (
        rows(1, word="long", response=LONG),
        r"task 'a', row 'long 0': \d+ tokens do not fit in",
    ),
    "special token in an answer": (
        rows(1, word="turn", response="a<|im_end|>"),
        r"row 'turn 0': .* token '<\|im_end\|>'",
    ),
    "special token in a question": (
        rows(1, word="<|im_start|>system"),
        r"row '<\|im_start\|>system 0': a message holds the special token '<\|im_start\|>'; remove it",
    ),
}


@pytest.mark.parametrize(
    ("row", "line"),
    [
        pytest.param(*case, id=name, marks=() if name == "answer beyond the context" else pytest.mark.slow)
        for name, case in ROWS_THE_MODEL_REFUSES.items()
    ],
)
def test_a_test_row_that_the_model_cannot_take_is_refused_before_anything_is_trained(
    row: str, line: str, tmp_path: Path
) -> None:
    files = {"a.jsonl": rows(20), "t.jsonl": rows(3, word="sub") + row}
    recipe = own_recipe(tmp_path, files, '[{path="a.jsonl", test_path="t.jsonl"}]')
    assert re.search(line, refusal("run", recipe, "--out", tmp_path / "run"))
    assert not (tmp_path / "run" / "branches").exists()
    assert not leftovers(tmp_path)


@pytest.mark.slow
def test_a_training_row_that_the_model_cannot_take_is_refused_and_the_corrected_file_runs(tmp_path: Path) -> None:
    good = rows(30)
    recipe = own_recipe(tmp_path, {"a.jsonl": good.replace('"17!"', json.dumps(LONG))}, '["a.jsonl"]')
    line = refusal("run", recipe, "--out", tmp_path / "run")
    assert re.search(
        r"task 'a', row 'add 17': \d+ tokens do not fit in the context of 1024; shorten or drop the row", line
    )
    own_recipe(tmp_path, {"a.jsonl": good}, '["a.jsonl"]')
    done = training("run", recipe, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_tokenizer_without_a_chat_template_is_refused_and_runs_once_it_has_one(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    template = (model / "chat_template.jinja").read_text()
    (model / "chat_template.jinja").unlink()
    recipe = own_recipe(tmp_path, {"a.jsonl": rows(20)}, '["a.jsonl"]', model="model")
    line = refusal("run", recipe, "--out", tmp_path / "run")
    assert re.search(
        "the tokenizer in .* has no chat template; add chat_template.jinja to the folder of the model", line
    )
    (model / "chat_template.jinja").write_text(template)
    done = training("run", recipe, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_model_that_is_nowhere_is_told_with_where_it_was_looked_for(tmp_path: Path) -> None:
    settings = ("--set", "start.model=no/such-model", "--set", "resources.workers=1")
    line = refusal("run", "smoke", "--out", tmp_path / "run", *settings)
    assert (
        "model 'no/such-model' is no local folder, not embedded (smollm2-135m, tiny-llama) and not on the hub" in line
    )
    assert line.endswith("; correct start.model")
    assert not (tmp_path / "run" / "base").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "size", "line"),
    [
        ("model.safetensors", 5000, r"model folder \S+ cannot be loaded: .*; save or copy it again"),
        ("model.safetensors", 4, r"model folder \S+ cannot be loaded: .*; save or copy it again"),
        ("config.json", 100, r"model folder \S+ .*; save or copy it again"),
        ("tokenizer.json", 100, r"model folder \S+ has no usable tokenizer: .*; save or copy it again"),
    ],
)
def test_a_start_model_that_is_damaged_is_refused_and_runs_once_it_is_whole(
    file: str, size: int, line: str, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "model")
    whole = (model / file).read_bytes()
    (model / file).write_bytes(whole[:size])
    recipe = own_recipe(tmp_path, {"a.jsonl": rows(20)}, '["a.jsonl"]', model="model")
    assert re.search(line, refusal("run", recipe, "--out", tmp_path / "run"))
    assert not leftovers(tmp_path / "run")
    (model / file).write_bytes(whole)
    done = training("run", recipe, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr


def huge(state: dict[str, torch.Tensor]) -> None:
    for name in state:
        state[name] = state[name] * 1e30


NOT_FINITE: dict[str, tuple[tuple[str, ...], str]] = {
    "a loss": (
        ("branch.learning_rate=1e30", "branch.batch_size=16"),
        "gradient norm nan at step 2 on examples of basic_arithmetic, coin_flip, gcd, lcm; lower branch.learning_rate",
    ),
    "the weights after the last step": (
        ("branch.learning_rate=1e38", "branch.batch_size=64", "branch.schedule=constant", "branch.weight_decay=1"),
        r"the weights are not finite after step 1, the last, on tasks gcd, lcm, coin_flip, basic_arithmetic; lower",
    ),
}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        pytest.param(*case, id=name, marks=() if name == "a loss" else pytest.mark.slow)
        for name, case in NOT_FINITE.items()
    ],
)
def test_training_that_is_no_longer_finite_names_the_tasks_and_the_step(
    settings: tuple[str, ...], line: str, tmp_path: Path
) -> None:
    changes = [part for setting in (*settings, "mixture.primer=0") for part in ("--set", setting)]
    only_joint = ("--set", 'arms=["joint"]', "--set", "resources.workers=1")
    assert re.search(line, refusal("run", "smoke", "--out", tmp_path / "run", *only_joint, *changes))
    assert not list(tmp_path.rglob("done.json"))
    assert not leftovers(tmp_path)


@pytest.mark.slow
def test_a_start_whose_gradients_are_not_finite_names_the_task_in_the_conflict_pass(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", huge)
    settings = ("--set", f"start.model={model}", "--set", "mixture.primer=0", "--set", "resources.workers=1")
    line = refusal("run", "smoke", "--out", tmp_path / "run", *settings)
    assert re.search(r"task '\w+': the gradient of calibration micro-batch 0 is not finite; check its rows and", line)
    assert not (tmp_path / "run" / "conflicts").exists()


@pytest.mark.slow
def test_a_base_whose_loss_is_not_finite_names_the_task_in_the_evaluation(tmp_path: Path) -> None:
    write_model(tmp_path / "model", nan)
    recipe = own_recipe(tmp_path, {"a.jsonl": rows(20)}, '["a.jsonl"]', model="model")
    changes = ("--set", 'arms=["base"]', "--set", "mixture.primer=0")
    line = refusal("run", recipe, "--out", tmp_path / "run", *changes)
    assert "the loss of base on task 'a' is not finite; " in line
    assert not (tmp_path / "run" / "evaluation").exists()
    assert not leftovers(tmp_path)


def nan(state: dict[str, torch.Tensor]) -> None:
    state["model.norm.weight"][3] = torch.nan


def shape(state: dict[str, torch.Tensor]) -> None:
    state["model.norm.weight"] = torch.ones(65)


def name(state: dict[str, torch.Tensor]) -> None:
    state["model.norm.scale"] = state.pop("model.norm.weight")


def dtype(state: dict[str, torch.Tensor]) -> None:
    state["model.norm.weight"] = state["model.norm.weight"].bfloat16()


def missing(state: dict[str, torch.Tensor]) -> None:
    del state["model.norm.weight"]


MERGES: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "NaN": (nan, r"tensor 'model.norm.weight' in \S+b holds NaN or infinity; leave this branch out"),
    "other shape": (shape, r"tensor 'model.norm.weight' is F32 \[64\] in \S+a but F32 \[65\] in \S+b; save"),
    "other name": (name, r"a lacks tensor 'model.norm.scale', which \S+b holds; merge branches of one start only"),
    "other dtype": (dtype, r"tensor 'model.norm.weight' is F32 \[64\] in \S+a but BF16 \[64\] in \S+b; save"),
    "in one only": (missing, r"b lacks tensor 'model.norm.weight', which \S+a holds; merge branches of one start only"),
}


@pytest.mark.parametrize(("change", "line"), MERGES.values(), ids=MERGES)
def test_branches_that_do_not_belong_together_are_not_merged(
    told: Told, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], line: str
) -> None:
    inputs = [f"--branch={write_model(tmp_path / 'a')}", f"--branch={write_model(tmp_path / 'b', change)}"]
    assert re.search(line, told("merge", *inputs, "--out", tmp_path / "merged"))
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_branches_that_record_different_starts_are_not_merged(told: Told, tmp_path: Path) -> None:
    inputs = []
    for branch in ("a", "b"):
        inputs.append(f"--branch={write_model(tmp_path / branch / 'model')}")
        (tmp_path / branch / "spec.json").write_text(json.dumps({"start": branch * 64}))
    line = told("merge", *inputs, "--out", tmp_path / "merged")
    assert re.search(r"start of \S+b/model \(b{12}\) is not that of \S+a/model \(a{12}\); merge branches of one", line)
    start = write_model(tmp_path / "start")
    line = told("merge", inputs[0], f"--start={start}", "--out", tmp_path / "merged")
    assert re.search(rf"start of \S+a/model \(a{{12}}\) is not \S+start \({folder_hash(start)[:12]}\)", line)
    (tmp_path / "b" / "spec.json").write_text("{")
    assert "b/spec.json is not valid JSON" in told("merge", *inputs, "--out", tmp_path / "merged")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "start"}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--weight", "0.5"), "there are 1 weights for 2 branches; give one weight per branch"),
        (("--weight", "nan", "--weight", "1"), "nan"),
        (("--weight", "half", "--weight", "1"), "Invalid value for '--weight': .*valid number.*; see --help"),
        (("--operator", "[bold]ties"), r"there is no merge operator '\[bold\]ties'; choose one of linear"),
    ],
)
def test_a_merge_asked_for_wrongly_is_told(told: Told, tmp_path: Path, arguments: tuple[str, ...], line: str) -> None:
    inputs = [f"--branch={write_model(tmp_path / branch)}" for branch in ("a", "b")]
    assert re.search(line, told("merge", *inputs, *arguments, "--out", tmp_path / "merged"))
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_a_good_run_survives_bad_commands(told: Told, smoke_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(smoke_run, run)
    kept = ("mixture", "base", "start", "conflicts", "branches", "arms", "evaluation")
    before = {path: path.read_bytes() for name in kept for path in (run / name).rglob("*") if path.is_file()}
    (tmp_path / "empty.jsonl").touch()
    mixed = json.dumps(["reasoning_gym:gcd", str(tmp_path / "empty.jsonl")])
    for settings in (
        ("--set", f"mixture.tasks={mixed}", "--set", "seed=7", "--set", 'arms=["joint"]'),
        ("--set", 'arms=["merit-9d"]'),
        ("--set", "branch.nothing=1"),
    ):
        told("run", "smoke", "--out", run, *settings)
    line = refusal("run", "smoke", "--out", run, "--set", "start.max_length=16", "--set", "resources.workers=1")
    assert "tokens do not fit in the context of 16" in line
    after = {path: path.read_bytes() for name in kept for path in (run / name).rglob("*") if path.is_file()}
    assert [path for path in after.keys() | before if after.get(path) != before.get(path)] == []
    done = training("run", "smoke", "--out", run, "--set", "resources.workers=1")
    assert done.returncode == 0, done.stderr
    assert results(run) == results(smoke_run)
