import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from training.config import RECIPES, BranchSettings, FileTask, Recipe, checked_name, load_recipe
from training.errors import InputError

MINIMAL = '[mixture]\ntasks = ["reasoning_gym:gcd"]\n'


def write_recipe(folder: Path, text: str = MINIMAL) -> str:
    path = folder / "recipe.toml"
    path.write_text(text)
    return str(path)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    positive = st.floats(1e-9, 1e3)
    tasks: list[Any] = [
        "reasoning_gym:gcd",
        {"dataset": "gcd", "name": "gcd.2", "parameters": {"min_numbers": 3, "value": 0.5, "kinds": ["a", "b"]}},
        {"source": "datasets", "path": "owner/set", "name": "hub", "configuration": draw(st.sampled_from([None, "x"]))},
        {"path": "/data/a b.jsonl", "test_path": draw(st.sampled_from([None, "/data/t.jsonl"])), "name": "file"},
    ]
    return Recipe.model_validate(
        {
            "seed": draw(st.integers(0, 2**62)),
            "arms": draw(st.lists(st.sampled_from(["base", "joint", "merit-1d"]), min_size=1, unique=True)),
            "splits": draw(st.sampled_from([{}, {"mine": [["gcd"], ["gcd.2", "hub", "file"]]}])),
            "mixture": {
                "tasks": draw(st.lists(st.sampled_from(tasks), min_size=1, max_size=4)),
                "train": draw(st.just("all") | st.integers(1, 10**6)),
                "primer": draw(st.integers(0, 9)),
            },
            "start": {"precision": "float64", "max_length": draw(st.none() | st.integers(8, 4096))},
            "primer": {"learning_rate": draw(st.none() | positive)},
            "branch": {"clip_norm": draw(st.none() | positive), "learning_rate": draw(positive)},
        }
    )


@settings(max_examples=100)
@given(recipes())
def test_a_recipe_written_as_toml_reads_back_equal(recipe: Recipe) -> None:
    assert Recipe.model_validate(tomllib.loads(recipe.to_toml())) == recipe


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_recipes_that_come_with_the_package_load_by_name(name: str) -> None:
    assert load_recipe(name, []).arms


def test_no_clipping_survives_the_round_trip() -> None:
    recipe = load_recipe("smoke", ["branch.clip_norm=off"])
    assert recipe.branch.clip_norm is None
    assert Recipe.model_validate(tomllib.loads(recipe.to_toml())).branch.clip_norm is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[branch]\nlearning_rat = 1\n", "unknown key branch.learning_rat"),
        ("nonsense = 1\n", "unknown key nonsense"),
        ("seed = -1\n", "seed: .*greater than or equal to 0"),
        ("arms = []\n", "arms is empty"),
        ("arms = ['joint', 'base', 'joint']\n", "arm 'joint' is listed twice"),
        ("[splits]\n'a/b' = [['gcd']]\n", "'a/b' is no usable name"),
        ("[branch]\nclip_norm = 0\n", "branch.clip_norm"),
        ("[branch]\nlearning_rate = nan\n", "branch.learning_rate"),
        ("[branch]\nwarmup_fraction = 1.0\n", "branch.warmup_fraction"),
        ("[start]\nprecision = 'fp8'\n", "start.precision"),
        ("seed = \n", "not valid TOML"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused_with_the_key_at_fault(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        load_recipe(write_recipe(tmp_path, text + MINIMAL), [])
    assert "recipe.toml" in str(caught.value)
    assert "\n" not in str(caught.value).strip()


@pytest.mark.parametrize(
    ("mixture", "complaint"),
    [
        ("tasks = []", "mixture.tasks.*at least 1"),
        ("tasks = [5]", "mixture.tasks.0"),
        ("tasks = 'reasoning_gym:gcd'", "mixture.tasks"),
        ("tasks = [{}]", "dataset"),
        ("tasks = [{source = 'hub', path = 'x'}]", "mixture.tasks.0"),
        ("tasks = [{dataset = 'gcd', name = '../x'}]", "no usable name"),
        ("tasks = [{dataset = 'gcd', sed = 1}]", "unknown key .*sed"),
        ("tasks = ['reasoning_gym:gcd']\ntrain = 0", "mixture.train"),
        ("tasks = ['reasoning_gym:gcd']\ntrain = 'some'", "mixture.train"),
        ("tasks = ['reasoning_gym:gcd']\ntest = 0", "mixture.test"),
        ("tasks = ['reasoning_gym:gcd']\ncalibration = 1", "mixture.calibration"),
    ],
)
def test_a_mixture_that_cannot_be_meant_is_refused(tmp_path: Path, mixture: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        load_recipe(write_recipe(tmp_path, f"[mixture]\n{mixture}\n"), [])


def test_a_recipe_that_is_not_there_is_refused_with_the_ones_that_are(tmp_path: Path) -> None:
    for missing in ("no-such-recipe", str(tmp_path)):
        with pytest.raises(InputError, match=r"demo, .*smoke"):
            load_recipe(missing, [])


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("branch.learning_rate=1e-3", lambda recipe: recipe.branch.learning_rate, 1e-3),
        ("seed=7", lambda recipe: recipe.seed, 7),
        ("start.model=owner/name", lambda recipe: recipe.start.model, "owner/name"),
        ("start.model='a=b'", lambda recipe: recipe.start.model, "a=b"),
        ('arms=["joint"]', lambda recipe: recipe.arms, ["joint"]),
        (" primer.epochs =2", lambda recipe: recipe.primer.epochs, 2.0),
    ],
)
def test_an_override_changes_its_key_and_nothing_else(tmp_path: Path, override: str, read: Any, value: Any) -> None:
    path = write_recipe(tmp_path)
    changed, plain = load_recipe(path, [override]), load_recipe(path, [])
    assert read(changed) == value != read(plain)
    table = override.partition("=")[0].strip().split(".")[0]
    assert changed.model_dump(exclude={table}) == plain.model_dump(exclude={table})


def test_the_last_of_two_overrides_stands(tmp_path: Path) -> None:
    assert load_recipe(write_recipe(tmp_path), ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize("override", ["seed", "seed.deeper=1", "mixture.tasks.0=x", "branch.unknown=1", "=1"])
def test_an_override_that_names_nothing_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(InputError):
        load_recipe(write_recipe(tmp_path, "seed = 1\n" + MINIMAL), [override])


def test_paths_are_taken_from_the_recipes_folder_and_names_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    text = "[mixture]\ntasks = ['d/a.jsonl', {path = '/abs/b.jsonl', test_path = 't.jsonl'}, 'reasoning_gym:gcd']\n"
    local = load_recipe(write_recipe(tmp_path, text + "outside = ['o.parquet']\n[start]\nmodel = 'mine'\n"), [])
    first, second, _ = local.mixture.tasks
    assert isinstance(first, FileTask)
    assert isinstance(second, FileTask)
    assert (first.path, first.test_path) == (str(tmp_path / "d/a.jsonl"), None)
    assert (second.path, second.test_path) == ("/abs/b.jsonl", str(tmp_path / "t.jsonl"))
    assert [task.path for task in local.mixture.outside] == [str(tmp_path / "o.parquet")]
    assert local.start.model == str(tmp_path / "mine")
    assert load_recipe(write_recipe(tmp_path, text), ["start.model=owner/name"]).start.model == "owner/name"


def test_short_forms_mean_the_tables_they_stand_for() -> None:
    short = Recipe.model_validate({"mixture": {"tasks": ["reasoning_gym:gcd", "a/*.jsonl"]}})
    long = {
        "tasks": [{"source": "reasoning_gym", "dataset": "gcd", "name": "gcd"}, {"source": "file", "path": "a/*.jsonl"}]
    }
    assert short == Recipe.model_validate({"mixture": long})


def test_only_a_name_with_an_owner_that_is_no_folder_is_a_hub_id(tmp_path: Path) -> None:
    def hub_id(model: str) -> str | None:
        return Recipe.model_validate({"mixture": {"tasks": ["x"]}, "start": {"model": model}}).start.hub_id

    assert hub_id("owner/name") == "owner/name"
    assert hub_id("tiny-llama") is None
    assert hub_id(str(tmp_path)) is None


def test_the_primer_overrides_what_it_names_and_keeps_the_rest(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path), ["primer.learning_rate=0.5", "branch.epochs=3", "branch.momentum=0.5"])
    assert recipe.primer_branch() == BranchSettings(learning_rate=0.5, epochs=3, momentum=0.5)


@given(st.text(max_size=90) | st.from_regex(r"[A-Za-z0-9_.\-]{1,90}", fullmatch=True))
def test_a_usable_name_can_break_no_path_and_no_markdown_table(name: str) -> None:
    try:
        checked_name(name)
    except ValueError:
        if not 1 <= len(name) <= 80:
            return
        unfit = [
            character for character in name if not (character.isascii() and (character.isalnum() or character in "._-"))
        ]
        assert unfit or name[0] in "._-"
        return
    assert Path(name).name == name
    assert not set(name) & set("|`*<>[]()!#~\\&\"' \t\r\n\x00/")
    assert name.isascii()


def test_a_recipe_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        BranchSettings().learning_rate = 1.0
