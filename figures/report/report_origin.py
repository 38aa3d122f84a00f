"""Where a report's numbers come from."""

from figures.origin import origin
from training.run_directory import ReportDirectory, RunDirectory


def report_origin(directory: ReportDirectory) -> str:
    """Model and scale of the run that the report lies in, and the arm it is about.

    Raises:
        MissingInput: the folder above the report holds no run.
        InputError: the run's recipe or mixture is damaged.
    """
    root = directory.root.absolute()
    return f"{origin(RunDirectory(root.parent.parent))}, arm {root.name}"
