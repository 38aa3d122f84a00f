"""A merge as a recipe for mergekit, where mergekit computes the same.

It does for the operators in :data:`METHODS`. Not for ``ties``: the official form trims over the whole model and lets
all coordinates vote on undecided signs, mergekit's does neither; ``ties-mergekit`` is that one. Nor for the random
masks of ``dare`` and ``dare-ties``, which only a density of one does without. Weights are what a recipe reproduces;
tokenizer and configuration are mergekit's choice.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from training.errors import InputError
from training.merge.model_folder import open_model
from training.merge.operator import Operator
from training.merge.weights import uniform_weights

METHODS = {
    "linear": "linear",
    "task-arithmetic": "task_arithmetic",
    "ties-mergekit": "ties",
    "dare": "dare_linear",
    "dare-ties": "dare_ties",
    "slerp": "slerp",
    "model-stock": "model_stock",
}
"""mergekit's name of each operator that it has too."""
REMARKS = {
    "ties-mergekit": "Of entries that equal the smallest kept magnitude, which ones mergekit keeps is up to its sort.",
    "slerp": "A tensor that is zero in one branch alone is averaged by us; mergekit takes it to be at a right angle.",
    "model-stock": "Of displacements whose norms have a product below 1e-6, mergekit takes the cosine to be smaller.",
}
"""Where the two differ in rare tensors, said at the head of the recipe."""
TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def check_exportable(operator: Operator, branches: Sequence[Path], start: Path | None) -> None:
    """Check that mergekit can do this merge.

    Raises:
        InputError: it lacks the operator, would draw masks of its own, or would take two inputs for one.
    """
    if operator.name not in METHODS:
        raise InputError(
            f"merge operator {operator.name!r} has no equivalent in mergekit; leave out --mergekit or choose one of "
            f"{', '.join(METHODS)}"
        )
    if operator.name in ("dare", "dare-ties") and operator.model_dump()["density"] < 1:
        raise InputError(
            f"merge operator {operator.name!r} drops entries at random, and mergekit would drop others; leave out "
            "--mergekit or set density=1"
        )
    inputs = [*branches, start] if operator.needs_start else branches
    for number, path in enumerate(inputs):
        if path in inputs[:number]:
            raise InputError(
                f"{path} is given twice, and mergekit would take it for one input; give a copy its own name"
            )


def mergekit_recipe(
    operator: Operator, branches: Sequence[Path], weights: Sequence[float] | None, start: Path | None, merged: Path
) -> str:
    """The YAML with which ``mergekit-yaml`` makes the weights of ``merged`` again, up to rounding.

    It computes in single precision as we do, or in double where a tensor has it, and writes one element type for all:
    that of the merged tensors, or if they have several what it computes in.

    Args:
        operator: one that :func:`check_exportable` lets pass.
        branches: folders, written as given.
        weights: one per branch; equal ones where None.
        start: folder of the model all branches began from.
        merged: folder of the merged model.
    """
    weights = uniform_weights(len(branches)) if weights is None else weights
    settings = operator.model_dump()
    base, own, shared = start, [{"weight": weight} for weight in weights], {}
    match operator.name:
        case "linear":
            base, shared = None, {"normalize": True}
        case "slerp":
            base, own, shared = branches[0], [], {"t": weights[1]}
        case "model-stock":
            own, shared = [], {"filter_wise": False}
        case "task-arithmetic":
            own, shared = [{"weight": 1.0} for _ in branches], {"normalize": False}
        case name:
            own = [{**one, "density": settings["density"]} for one in own]
            shared = {"normalize": name == "ties-mergekit"}
    if "scale" in settings:
        shared["lambda"] = settings["scale"]

    recipe: dict[str, Any] = {"merge_method": METHODS[operator.name]}
    if base is not None:
        recipe["base_model"] = _reference(base)
    recipe["models"] = [{"model": _reference(path)} for path in branches]
    for model, parameters in zip(recipe["models"], own, strict=False):
        model["parameters"] = parameters
    with open_model(merged) as tensors:
        types = {TYPES[tensor.element.name] for tensor in tensors.values() if tensor.element.name in TYPES}
    recipe |= {"parameters": shared, "dtype": "float64" if "float64" in types else "float32"}
    if len(types) == 1:
        recipe["out_dtype"] = types.pop()
    head = f"# {REMARKS[operator.name]}\n" if operator.name in REMARKS else ""
    return head + yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)


def _reference(path: Path) -> str | dict[str, Any]:
    """``path`` as mergekit reads it: in plain text, ``+`` would begin an adapter and ``@`` a revision."""
    return {"model": {"path": str(path)}} if {"+", "@"} & set(str(path)) else str(path)
