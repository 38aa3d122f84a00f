"""Whether calibration examples suffice, and what sketches keep of the tasks' cosines."""

from diagnostics.calibration import Agreement, Calibration, Fidelity
from diagnostics.report.numbers import interval_text, number_text
from diagnostics.report.section import Picture, Section, Table


def section(result: Calibration) -> Section:
    """The calibration curve, and the agreement of compressed cosines with whole ones."""
    tables = [_curve(result)]
    pictures = [
        Picture(
            "calibration", "Cosine of the gradient of a few calibration examples with the task's own, by their number."
        )
    ]
    if result.fidelity is not None:
        tables.append(_fidelity(result.fidelity))
        pictures.append(
            Picture("sketch_fidelity", "Cosines between tasks from compressed gradients, against those of whole ones.")
        )
    return Section(
        name=result.name,
        title="Calibration and sketches",
        meaning=_meaning(result),
        uncertainty=_uncertainty(result),
        pictures=tuple(pictures),
        tables=tuple(tables),
        cost=result.cost,
    )


def _meaning(result: Calibration) -> str:
    if result.all_examples is None:
        text = "No task's gradient stands out of the noise of its calibration examples; take more of them."
    else:
        text = (
            f"The gradient of all calibration examples of a task ({result.examples} or more) is expected to have "
            f"cosine {interval_text(result.all_examples)} with that of infinitely many, in the mean over tasks."
        )
    if result.fidelity is not None:
        sketch = result.fidelity.sketch
        text += (
            f" The sketches that the split was made from are off by {number_text(sketch.mean_absolute, 4)} in the mean "
            "from the tasks' cosines without compression."
        )
    return text


def _uncertainty(result: Calibration) -> str:
    text = (
        "Intervals are over tasks. Beyond the present number of examples the cosine is extrapolated from each task's "
        "reliability, as if noise went down with one over the number of examples."
    )
    if result.without_signal:
        text += (
            f" Without measurable signal, and left out of what is corrected for noise: "
            f"{', '.join(result.without_signal)}."
        )
    if result.fidelity is not None:
        text += (
            " Compressed and whole gradients are of the same examples, so what separates them is compression, and the "
            "arithmetic of the run where it is coarser than the report's."
        )
    return text


def _curve(result: Calibration) -> Table:
    rows = [
        (
            number_text(point.examples, 0),
            interval_text(point.with_rest),
            "–" if point.with_signal is None else interval_text(point.with_signal),
        )
        for point in result.curve
    ]
    rows += [
        (f"{number_text(point.examples, 0)}, extrapolated", "–", interval_text(point.with_signal))
        for point in result.expected
    ]
    head = ("examples", "cosine with the others' gradient", "cosine with the task's own, noise taken out")
    return Table("Direction of the mean gradient by number of calibration examples, mean over tasks", head, tuple(rows))


def _fidelity(fidelity: Fidelity) -> Table:
    count = len(fidelity.tasks)
    rows = (
        _row(f"sketch of {fidelity.sketch_size:,} entries, this run's", fidelity.sketch),
        _row("every fifth entry, the paper's", fidelity.stride),
    )
    caption = f"Cosines from compressed gradients against whole ones, over {count * (count - 1) // 2} pairs of tasks"
    return Table(caption, ("compression", "Pearson", "Spearman", "mean absolute error", "root mean square"), rows)


def _row(name: str, agreement: Agreement) -> tuple[str, ...]:
    correlations = (agreement.pearson, agreement.spearman)
    errors = (agreement.mean_absolute, agreement.root_mean_square)
    return (
        name,
        *("–" if value is None else number_text(value, 4) for value in correlations),
        *(number_text(value, 4) for value in errors),
    )
