"""What a report was measured on: models, tasks, settings and versions, so that anybody can measure it again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diagnostics.report.section import Table
from diagnostics.settings import DiagnosticSettings
from diagnostics.subject import Subject


def measured_on(
    subject: Subject, preset: str, settings: DiagnosticSettings, environment: Mapping[str, Any]
) -> tuple[Table, ...]:
    """Tables for a reader; ``environment`` is that of :func:`training.environment.describe_environment`."""
    return (_models(subject), _tasks(subject, settings), _settings(subject, preset, settings), _versions(environment))


def subject_values(subject: Subject) -> dict[str, Any]:
    """The same for a program, as JSON values: models, and tasks with the SHA-256 of their files."""
    return {
        "title": subject.title,
        "run": None if subject.run is None else str(subject.run.root),
        "models": _folders(subject),
        "weights": list(subject.checkpoints.weights),
        "tasks": {task.name: task.hashes for task in subject.tasks},
        "objective": subject.objective,
        "precision": subject.precision,
        "trainable": list(subject.trainable),
        "max_length": subject.max_length,
        "device": str(subject.device),
    }


def _models(subject: Subject) -> Table:
    weights = dict(zip(subject.checkpoints.branch_names, subject.checkpoints.weights, strict=True))
    rows = tuple(
        (name, f"{weights[name]:.4g}" if name in weights else "–", folder) for name, folder in _folders(subject).items()
    )
    return Table("Models", ("model", "merge weight", "folder"), rows)


def _folders(subject: Subject) -> dict[str, str]:
    """Where each model lies, seen from the run where it is of one."""
    root = None if subject.run is None else subject.run.root
    folders = subject.checkpoints.folders.items()
    return {name: str(folder if root is None else _below(folder, root)) for name, folder in folders}


def _below(folder: Path, root: Path) -> Path:
    return folder.relative_to(root) if folder.is_relative_to(root) else folder


def _tasks(subject: Subject, settings: DiagnosticSettings) -> Table:
    rows = tuple(
        (task.name, f"{min(settings.probe.per_task or task.counts['test'], task.counts['test']):,}")
        for task in subject.tasks
    )
    return Table("Tasks, and how many of their test items losses are measured on", ("task", "items"), rows)


def _settings(subject: Subject, preset: str, settings: DiagnosticSettings) -> Table:
    rows = [
        ("preset", preset),
        ("objective", subject.objective),
        ("precision", subject.precision),
        ("device", str(subject.device)),
        ("trained parameters", ", ".join(subject.trainable)),
        ("longest example", "the model's context" if subject.max_length is None else f"{subject.max_length} tokens"),
    ]
    for table, values in settings.model_dump(mode="json").items():
        if not isinstance(values, dict):
            rows.append((table, str(values)))
            continue
        rows += [(f"{table}.{name}", _setting_text(value)) for name, value in values.items()]
    return Table("Settings", ("setting", "value"), tuple(rows))


def _setting_text(value: Any) -> str:
    if value is None:
        return "all"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _versions(environment: Mapping[str, Any]) -> Table:
    rows = [(name, str(environment[name])) for name in ("python", "platform", "processor", "cores", "commit")]
    rows += [(name, version or "not installed") for name, version in environment["packages"].items()]
    return Table("Versions", ("", ""), tuple(rows))
