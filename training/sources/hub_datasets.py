"""Tasks from anything ``datasets.load_dataset`` loads (optional extra ``datasets``)."""

from collections.abc import Iterator

from training.config import DatasetsTask
from training.errors import InputError
from training.sources.row import Row, row_from_record


def load_rows(task: DatasetsTask) -> Iterator[Row]:
    """Rows of the dataset's split, streamed in its order.

    Raises:
        InputError: the extra is not installed, or the dataset, configuration or split cannot be loaded.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(f"task {task.name!r} needs the datasets package; pip install 'merit-lab[datasets]'") from None
    try:
        rows = datasets.load_dataset(task.path, task.configuration, split=task.split)
    except Exception as error:  # the package raises many types, and each of them means the same to the user
        raise InputError(
            f"task {task.name!r}: datasets cannot load {task.path!r} ({error}); correct the recipe"
        ) from None
    for number, record in enumerate(rows, start=1):
        yield row_from_record(record, f"{task.path}[{task.split}]:{number}")
