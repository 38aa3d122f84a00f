"""What kind of task each task is, as the frozen mixture says."""

from training.run_directory import RunDirectory, read_json


def task_kinds(run: RunDirectory, tasks: list[str]) -> list[str] | None:
    """Kinds of ``tasks``; None where the mixture does not say them of every task.

    Raises:
        MissingInput: there is no mixture.
        InputError: its manifest is damaged.
    """
    manifest = read_json(run.mixture / "manifest.json")
    kinds = {entry["name"]: entry.get("kind") for entry in manifest["tasks"]}
    found = [kind for task in tasks if (kind := kinds.get(task))]
    return found if len(found) == len(tasks) else None
