"""Where numbers come from: the model and scale of a run or of the paper, so that nobody takes one for the other."""

import tomllib
from typing import Any

from training.errors import InputError, MissingInput
from training.run_directory import RunDirectory, read_json

PAPER_VISION = "The paper (arXiv 2606.01717): Qwen2.5-VL-3B, 136 Vision-FLAN tasks"
PAPER_TEXT = "The paper (arXiv 2606.01717): Qwen2.5-3B, 66 FLAN tasks"


def recipe_of(run: RunDirectory) -> dict[str, Any]:
    """The recipe of a run as its ``config.toml`` holds it.

    Raises:
        MissingInput: there is none.
        InputError: it is not TOML.
    """
    try:
        return tomllib.loads(run.config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingInput(f"{run.config} is missing; run the recipe first") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{run.config} is not valid TOML ({error}); run the recipe again") from None


def origin(run: RunDirectory) -> str:
    """Model, number of tasks and seed of a run, such as ``"Measured here: smollm2-135m, 8 tasks, seed 0"``."""
    recipe = recipe_of(run)
    tasks = len(read_json(run.mixture / "manifest.json")["tasks"])
    return f"Measured here: {recipe['start']['model']}, {tasks} tasks, seed {recipe['seed']}"
