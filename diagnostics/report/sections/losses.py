"""What the losses say: how far the merged model is from its branches, its start and joint training."""

from diagnostics.losses import Losses
from diagnostics.report.numbers import FEWEST_DIGITS, comparison_text, digits_of, interval_text, negated, number_text
from diagnostics.report.section import Picture, Section, Table

AVERAGE = "branch average"


def section(result: Losses) -> Section:
    """The part of the report about :class:`Losses`."""
    gain = negated(result.gain)
    start = result.merged_minus["start"]
    return Section(
        name=result.name,
        title="Losses",
        meaning=(
            f"The merged model's loss is {comparison_text(gain, 'the average of its branches')}, and "
            f"{comparison_text(start, 'that of the start')}."
        ),
        uncertainty=(
            f"Intervals are 95 % paired bootstraps over {result.items} test items within {len(result.tasks)} tasks "
            f"({result.answer_tokens:,} answer tokens); they say nothing about other seeds, splits of the tasks or "
            "mixtures."
        ),
        pictures=(
            Picture("losses", _models_in_words(result)),
            Picture("task_losses", _tasks_in_words(result)),
        ),
        tables=(_models(result), _levels(result), _differences(result)),
        cost=result.cost,
    )


def _models_in_words(result: Losses) -> str:
    values = [f"{entry.model} {entry.loss.value:.3f}" for entry in result.models]
    return f"Loss of each model in nats per answer token: {', '.join(values)}."


def _tasks_in_words(result: Losses) -> str:
    better = [task for task, gain in zip(result.tasks, result.task_gains, strict=True) if gain.low > 0]
    worse = [task for task, gain in zip(result.tasks, result.task_gains, strict=True) if gain.high < 0]
    return (
        "Loss of start, branch average, merged model and joint training in each task. Merging lowers the loss in "
        f"{', '.join(better) or 'no task'} and raises it in {', '.join(worse) or 'no task'}, as far as the intervals "
        "tell."
    )


def _models(result: Losses) -> Table:
    models = {entry.model: (entry.loss, entry.macro_loss) for entry in result.models}
    compared = {name: (entry, result.macro_merged_minus[name]) for name, entry in result.merged_minus.items()}
    models[AVERAGE] = (result.branch_average, result.macro_branch_average)
    compared[AVERAGE] = (negated(result.gain), negated(result.macro_gain))
    digits = digits_of(*(loss for both in models.values() for loss in both))
    rows = []
    for name, losses in models.items():
        cells = [name]
        for number, loss in enumerate(losses):
            minus = interval_text(compared[name][number], digits, signed=True) if name in compared else "–"
            cells += [interval_text(loss, digits), minus]
        rows.append(tuple(cells))
    return Table(
        caption="Loss in nats per answer token, over all answer tokens and as the mean over tasks, with 95 % intervals",
        head=("model", "loss", "merged minus it", "mean over tasks", "merged minus it"),
        rows=tuple(rows),
    )


def _levels(result: Losses) -> Table:
    columns = {entry.model: entry.tasks for entry in result.models} | {AVERAGE: result.branch_average_tasks}
    return Table(
        caption="Loss within each task, in nats per answer token",
        head=("task", *columns),
        rows=tuple(
            (task, *(number_text(losses[number]) for losses in columns.values()))
            for number, task in enumerate(result.tasks)
        ),
    )


def _differences(result: Losses) -> Table:
    columns = {AVERAGE: tuple(negated(gain) for gain in result.task_gains)}
    columns |= {name: own for name, own in result.task_merged_minus.items() if not name.startswith("branch-")}
    return Table(
        caption="The merged model's loss within each task minus that of others, in nats per answer token [95 %]",
        head=("task", *(f"minus {name}" for name in columns)),
        rows=tuple(
            (task, *(interval_text(own[number], FEWEST_DIGITS, signed=True) for own in columns.values()))
            for number, task in enumerate(result.tasks)
        ),
    )
