import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from training.__main__ import app
from training.errors import InputError
from training.merge.mergekit_recipe import METHODS
from training.merge.registry import OPERATORS

Models = Callable[..., tuple[Path, list[Path]]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    root = tmp_path_factory.mktemp("models")

    def write(dtype: torch.dtype = torch.float32) -> tuple[Path, list[Path]]:
        """A start and three branches, displaced as far as the weights are large, under names with a meaning."""
        folder = root / str(dtype)
        paths = [folder / name for name in ("start", "merit-1d+linear", "joint@0.8", "third")]
        if not folder.exists():
            config = LlamaConfig(
                vocab_size=40,
                hidden_size=16,
                intermediate_size=24,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                tie_word_embeddings=True,
            )
            model = LlamaForCausalLM(config).to(dtype)
            for number, path in enumerate(paths):
                generator = torch.Generator().manual_seed(number)
                moved = LlamaForCausalLM(config).to(dtype)
                moved.load_state_dict(model.state_dict())
                with torch.no_grad():
                    for parameter in moved.parameters() if number else ():
                        parameter.add_(torch.randn(parameter.shape, generator=generator).to(dtype), alpha=0.02)
                moved.save_pretrained(path)
        return paths[0], paths[1:]

    return write


def merge(operator: str, start: Path, branches: list[Path], out: Path, *options: str) -> dict[str, Any]:
    """Merge on the command line with a recipe beside, and read the recipe."""
    arguments = ["merge", "--operator", operator, "--start", start, "--out", out, "--mergekit", f"{out}.yml"]
    arguments += [part for branch in branches for part in ("--branch", branch)]
    CliRunner().invoke(app, [*map(str, arguments), *options], catch_exceptions=False)
    return yaml.safe_load(Path(f"{out}.yml").read_text())


CASES = {
    "linear": ("--weight=.5", "--weight=.7", "--weight=-.2"),
    "task-arithmetic": ("--set=scale=.4",),
    "ties-mergekit": ("--weight=.5", "--weight=.3", "--weight=.2", "--set=density=.3", "--set=scale=.7"),
    "dare": ("--weight=.5", "--weight=.3", "--weight=.2", "--set=density=1", "--set=scale=1.5"),
    "dare-ties": ("--set=density=1", "--set=scale=1.5"),
    "slerp": ("--weight=.2", "--weight=.8"),
    "model-stock": (),
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("operator", CASES)
def test_mergekit_makes_the_same_weights_of_the_recipe(models: Models, operator, dtype, tmp_path) -> None:
    run = pytest.importorskip("mergekit.merge")
    configuration = importlib.import_module("mergekit.config").MergeConfiguration
    start, branches = models(dtype)
    if operator == "slerp":
        branches = branches[:2]
    recipe = merge(operator, start, branches, tmp_path / "ours", *CASES[operator])
    options = run.MergeOptions(copy_tokenizer=False, quiet=True)
    run.run_merge(configuration.model_validate(recipe), str(tmp_path / "theirs"), options)
    ours, theirs = (load_file(tmp_path / who / "model.safetensors") for who in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype == dtype
        agree = torch.isclose(value, theirs[name], rtol=2**-7 if dtype == torch.bfloat16 else 1e-5, atol=1e-6)
        # Entries of equal magnitude are many in bfloat16, and which ones mergekit keeps is up to an unstable sort.
        assert agree.float().mean() >= (0.9 if (operator, dtype) == ("ties-mergekit", torch.bfloat16) else 1), name


def test_a_recipe_holds_paths_weights_density_and_scale_as_given(models: Models, tmp_path, monkeypatch) -> None:
    start, branches = models()
    monkeypatch.chdir(start.parent)
    given = [Path("third"), Path("..", branches[0].parent.name, "merit-1d+linear")]
    recipe = merge(
        "ties-mergekit", Path("start"), given, tmp_path / "out", "--weight=.75", "--weight=.25", "--set=density=.1"
    )
    assert recipe == {
        "merge_method": "ties",
        "base_model": "start",
        "models": [
            {"model": "third", "parameters": {"weight": 0.75, "density": 0.1}},
            {"model": {"model": {"path": str(given[1])}}, "parameters": {"weight": 0.25, "density": 0.1}},
        ],
        "parameters": {"normalize": True, "lambda": 1.0},
        "dtype": "float32",
        "out_dtype": "float32",
    }


def test_equal_weights_are_written_out(models: Models, tmp_path) -> None:
    start, branches = models()
    recipe = merge("linear", start, branches, tmp_path / "out")
    assert [model["parameters"] for model in recipe["models"]] == [{"weight": 1 / 3}] * 3


@pytest.mark.parametrize("operator", sorted(OPERATORS.keys() - METHODS.keys()))
def test_an_operator_that_mergekit_lacks_is_refused_before_the_merge(models: Models, operator, tmp_path) -> None:
    start, branches = models()
    with pytest.raises(InputError, match=r"no equivalent in mergekit; .* linear, task-arithmetic, ties-mergekit"):
        merge(operator, start, branches, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("operator", ["dare", "dare-ties"])
def test_masks_that_mergekit_would_draw_otherwise_are_refused(models: Models, operator, tmp_path) -> None:
    start, branches = models()
    with pytest.raises(InputError, match="set density=1"):
        merge(operator, start, branches, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_inputs_that_mergekit_would_take_for_one_are_refused(models: Models, tmp_path) -> None:
    start, branches = models()
    for operator, given in (("linear", [branches[0], branches[0]]), ("task-arithmetic", [start, branches[0]])):
        with pytest.raises(InputError, match="given twice"):
            merge(operator, start, given, tmp_path / "out")
    recipe = merge("linear", start, [start, branches[0]], Path(os.path.relpath(tmp_path / "out")))
    assert recipe["models"][0]["model"] == str(start)
