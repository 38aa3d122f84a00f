"""Do the axes along which tasks conflict point where the loss is sharp? The paper's measurement (F.3), with its nulls.

At the start: the Hessian's eigenvectors with the largest eigenvalues in magnitude, against the leading axes of the
tasks' gradients. The paper compares with random vectors of the model's size, a test that every combination of gradients
passes. Beside it stand two that can fail: random combinations of the same gradients, and the same combination with the
tasks' roles permuted.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from diagnostics.alignment_frames import (
    ConflictFrame,
    InnerProducts,
    PlacedFrame,
    conflict_frames,
    outermost_tasks,
    placed,
)
from diagnostics.alignment_nulls import Floats, random_vector_cosine
from diagnostics.alignment_result import (
    Alignment,
    AxesName,
    BranchDirection,
    ConflictAxes,
    Curvature,
    Direction,
    ParameterSet,
    SetName,
    Spread,
)
from diagnostics.bench import Bench
from diagnostics.cost import PASSES_PER_PRODUCT
from diagnostics.curvature.direction_mass import direction_mass
from diagnostics.curvature.operator import CurvatureOperator
from diagnostics.curvature.parameters import VectorLayout
from diagnostics.curvature.reductions import norm
from diagnostics.model_parts import layer_of
from diagnostics.result import Arrays
from diagnostics.spectrum import hessian_here, measured_spectrum, memory_told, storage_for, told_as_settings
from diagnostics.task_gradients import PASSES_PER_GRADIENT, HalfGradients, TaskHalves, gram_matrices, projected
from merit_theory.conflict import Centre, cosine_from_gram
from training.errors import InputError
from training.model.batching import Example
from training.run_directory import content_hash, folder_hash

LAST_LAYER = "last-layer"
"""Stands for the pattern of the parameters of the last layer, whatever the architecture calls it."""
CENTRES: dict[AxesName, Centre] = {"raw": "none", "double-centred": "double"}
MOST_TASKS = 4
"""One in each quadrant."""


def expected_tokens(bench: Bench) -> int:
    """Forward tokens that :func:`measure` takes at most, if Lanczos needs all products it may take."""
    settings = bench.settings.alignment
    halves = TaskHalves.of(bench)
    examples = [len(example) for task in halves.curvature for example in task]
    hessian = min(settings.tasks, MOST_TASKS, len(halves.tasks)) * sum(examples) // len(halves.tasks)
    sets = 1 + settings.without_norms
    directions = 2 * settings.directions + len(bench.checkpoints.branches) + 1
    products = settings.max_products + settings.eigenvectors + directions * settings.mass_steps
    products += (settings.density_probes + 1) * settings.density_steps if settings.density_probes else 0
    gradients = PASSES_PER_GRADIENT * (1 + sets) * halves.input_tokens
    return gradients + PASSES_PER_PRODUCT * sets * products * hessian


def measure(bench: Bench) -> tuple[Alignment, Arrays]:
    """Move the network to the start and measure.

    Raises:
        InputError: fewer than two tasks, too few examples, parameters that are not there or were not trained, a loss or
            gradient that is not finite, or settings that memory or each other exclude.
    """
    bench.network.move_to({"start": 1.0})
    with memory_told():
        return _measured(bench)


def _measured(bench: Bench) -> tuple[Alignment, Arrays]:
    settings = bench.settings.alignment
    halves = TaskHalves.of(bench)
    sets = _parameter_sets(bench)
    with bench.network.differentiated(sets["chosen"]) as parameters:
        gradients = HalfGradients(bench, halves, parameters)
        grams = _gram_matrices(bench, halves, gradients, parameters, sets)
    chosen = outermost_tasks(cosine_from_gram(halves.whole @ grams[0] @ halves.whole.T), settings.tasks)
    examples = [example for task in chosen for example in halves.curvature[task]]
    checkpoints = _checkpoints(bench, sets, examples)
    results, arrays = [], {"tasks": np.array(halves.tasks), "whole": halves.whole}
    for (name, names), gram, checkpoint in zip(sets.items(), grams, checkpoints, strict=True):
        with bench.network.differentiated(names) as parameters:
            result, own = _over(bench, name, parameters, halves, gradients, gram, examples, checkpoint)
        results.append(result)
        arrays |= own
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)
    squares = [np.trace(halves.whole @ gram @ halves.whole.T) for gram in grams]
    result = Alignment(
        parameters=settings.parameters,
        tasks=halves.tasks,
        hessian_tasks=tuple(halves.tasks[task] for task in chosen),
        hessian_examples=len(examples),
        hessian_answer_tokens=sum(example.answer_tokens for example in examples),
        gradient_examples=halves.fewest,
        shared_examples=halves.shared,
        norm_share=float(1 - squares[1] / squares[0]) if len(squares) > 1 else None,
        null_draws=settings.null_draws,
        sets=tuple(results),
        cost=bench.meter.cost(),
    )
    return result, arrays


def _parameter_sets(bench: Bench) -> dict[SetName, list[str]]:
    """Names of the parameters of each set; without norms only where that is another set and not empty."""
    settings, parameters = bench.settings.alignment, bench.network.parameters
    trained = bench.trained
    patterns = [last_layer(trained) if pattern == LAST_LAYER else pattern for pattern in settings.parameters]
    with bench.network.differentiated(patterns) as matching:
        names = [name for name in matching if name in trained]
    if not names:
        raise InputError(
            f"alignment.parameters: {', '.join(settings.parameters)} choose none that was trained; choose among names "
            f"such as {trained[0]!r}"
        )
    entries = sum(parameters[name].numel() for name in names)
    if entries <= settings.eigenvectors:
        raise InputError(
            f"alignment.eigenvectors: {settings.eigenvectors} eigenvectors span all of {entries} parameters; ask for "
            "fewer or choose more parameters"
        )
    sets: dict[SetName, list[str]] = {"chosen": names}
    matrices = [name for name in names if parameters[name].dim() > 1]
    if settings.without_norms and 0 < len(matrices) < len(names):
        sets["without-norms"] = matrices
    return sets


def last_layer(names: Sequence[str]) -> str:
    """The pattern of the last layer's parameters among ``names``: the highest number in their module paths.

    >>> last_layer(["transformer.wte.weight", "transformer.h.0.ln.weight", "transformer.h.11.ln.weight"])
    'transformer.h.11.*'

    Raises:
        InputError: no name has a number.
    """
    layers = {layer: int(layer.rpartition(".")[2]) for layer in map(layer_of, names) if layer[-1].isdigit()}
    if not layers:
        raise InputError(
            f"alignment.parameters: {LAST_LAYER} needs numbered layers, which names such as {names[0]!r} do not show; "
            "give patterns of names"
        )
    return max(layers, key=lambda layer: layers[layer]) + ".*"


def _gram_matrices(
    bench: Bench,
    halves: TaskHalves,
    gradients: HalfGradients,
    parameters: Mapping[str, Parameter],
    sets: Mapping[SetName, Sequence[str]],
) -> list[Floats]:
    grams = gram_matrices(
        gradients.over(parameters),
        VectorLayout.of(parameters),
        list(sets.values()),
        int(bench.generator("alignment sketch").integers(2**31)),
    )
    for gram in grams:
        if not (np.diagonal(gram) > 0).all():
            task = halves.tasks[int(np.argmin(np.diagonal(gram) > 0)) // 2]
            raise InputError(
                f"the gradient of task {task!r} over the chosen parameters is zero; choose other alignment.parameters"
            )
    return grams


def _checkpoints(bench: Bench, sets: Mapping[SetName, Sequence[str]], examples: Sequence[Example]) -> list[Path]:
    """Where Lanczos goes on from, one file for each set; those of other operators are removed.

    Named by what the operator depends on: vectors of another Hessian would be taken for those of this one.
    """
    settings = bench.settings
    model = folder_hash(bench.checkpoints.start)
    common = [model, [example.ids for example in examples], bench.objective, settings.seed]
    keys = [content_hash([*common, settings.alignment.model_dump(), names]) for names in sets.values()]
    paths = [bench.directory.checkpoint(f"alignment-{key[:16]}") for key in keys]
    folder = paths[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("alignment-*.checkpoint*"):
        if path not in paths:
            path.unlink()
    return paths


def _over(
    bench: Bench,
    name: SetName,
    parameters: Mapping[str, Parameter],
    halves: TaskHalves,
    gradients: HalfGradients,
    gram: Floats,
    examples: Sequence[Example],
    checkpoint: Path,
) -> tuple[ParameterSet, Arrays]:
    """Everything over one set of parameters."""
    settings = bench.settings.alignment
    layout = VectorLayout.of(parameters)
    frames = {axes: conflict_frames(gram, halves.whole, settings.directions, CENTRES[axes]) for axes in CENTRES}
    if not all(len(found[0].coefficients) for found in frames.values()):
        raise InputError("alignment: the tasks' gradients do not differ, so nothing conflicts; give other tasks")
    tasks_gram = halves.whole @ gram @ halves.whole.T
    lifts = np.concatenate([found[0].lifts(tasks_gram) for found in frames.values()])

    operator = hessian_here(bench, parameters, examples)
    spectrum, pairs, arrays = measured_spectrum(bench, operator, name, checkpoint)
    dots, directions = projected(gradients.over(parameters), pairs.vectors, lifts @ halves.whole)
    del pairs  # the largest thing in memory, which nothing below needs
    sketch_error = max(abs(norm(direction) - 1) for direction in directions)
    curvatures = iter([_curvature(bench, operator, directions.pop(0)) for _ in lifts])

    products = InnerProducts(gram, dots)
    gaussian = random_vector_cosine(layout.dimension, settings.eigenvectors)
    cosines = products.mixed(halves.whole).eigenspace_cosines
    axes = []
    for kind, found in frames.items():
        generator = bench.generator("alignment null", f"{name} {kind}")
        place = placed(found, products, halves.whole, settings.null_draws, generator)
        axes.append(_axes(kind, found[0], place, gaussian, curvatures))
    result = ParameterSet(
        name=name,
        tensors=len(parameters),
        entries=layout.dimension,
        spectrum=spectrum,
        random_vector=Spread(mean=gaussian[0], deviation=gaussian[1]),
        task_gradient=Spread(mean=float(cosines.mean()), deviation=float(cosines.std(ddof=1))),
        task_cosines=tuple(cosines.tolist()),
        axes=tuple(axes),
        branches=_branches(bench, operator, layout),
        random_direction=_curvature(bench, operator, _random_direction(bench, operator, name)),
        sketch_error=sketch_error,
    )
    coefficients = {f"{name}_{kind}_coefficients": found[0].coefficients for kind, found in frames.items()}
    return result, {f"{name}_gram": gram, f"{name}_dots": dots, **coefficients, **arrays}


def _axes(
    kind: AxesName,
    frame: ConflictFrame,
    place: PlacedFrame,
    gaussian: tuple[float, float],
    curvatures: Iterator[Curvature],
) -> ConflictAxes:
    mean, deviation = gaussian
    directions = tuple(
        Direction(
            explained=float(frame.explained[number]),
            eigenspace=place.eigenspace[number],
            nearest=place.nearest[number],
            eigenvector=place.eigenvectors[number],
            half_cosine=float(place.half_cosines[number]),
            corrected=float(place.corrected[number]) if np.isfinite(place.corrected[number]) else None,
            gaussian_z=(place.eigenspace[number].value - mean) / deviation,
            curvature=next(curvatures),
        )
        for number in range(len(frame.coefficients))
    )
    return ConflictAxes(
        name=kind, directions=directions, largest=place.largest, mean_nearest=place.mean_nearest, leading=place.leading
    )


def _curvature(bench: Bench, operator: CurvatureOperator, direction: Tensor) -> Curvature:
    settings = bench.settings.alignment
    with told_as_settings():
        mass = direction_mass(
            operator,
            direction,
            steps=settings.mass_steps,
            budget_gb=settings.budget_gb,
            storage=storage_for(operator, settings.mass_steps + 1, settings.budget_gb),
            storage_device=operator.device,
        )
    if settings.mass_steps == 1:
        return Curvature(value=mass.curvature, positive=None)
    low, high = mass.mass_above_bounds(0.0)
    return Curvature(value=mass.curvature, positive=(low, mass.mass_above(0.0), high))


def _branches(bench: Bench, operator: CurvatureOperator, layout: VectorLayout) -> tuple[BranchDirection, ...]:
    found = []
    for branch in bench.checkpoints.branch_names:
        pieces = bench.network.combination({branch: 1.0, "start": -1.0})
        displacement = layout.flatten({name: piece for name, piece in pieces if name in layout.shapes})
        length = norm(displacement)
        if length > 0:
            curvature = _curvature(bench, operator, displacement)
            found.append(BranchDirection(branch=branch, length=length, curvature=curvature))
    return tuple(found)


def _random_direction(bench: Bench, operator: CurvatureOperator, name: str) -> Tensor:
    noise = bench.generator("alignment random direction", name).standard_normal(operator.dimension, dtype=np.float32)
    return torch.from_numpy(noise).to(device=operator.device, dtype=operator.dtype)
