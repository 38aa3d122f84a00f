"""A job: a function of files, called in some process with callbacks for progress and for being stopped."""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Job:
    """One call of a function in a worker.

    Attributes:
        title: what progress shows.
        function: ``"package.module:name"``. Named, not passed: the driver then never imports torch. Called with
            ``arguments`` and ``device`` (a torch device name), ``report(tokens)`` and ``stopping()`` as keywords; what
            it returns must be picklable.
        arguments: its keyword arguments.
        tokens: about how many tokens it puts through the model, for progress and for starting large jobs first.
    """

    title: str
    function: str
    arguments: Mapping[str, Any]
    tokens: int = 0

    def resolve(self) -> Callable[..., Any]:
        """The function itself."""
        return pkgutil.resolve_name(self.function)


class Launcher(Protocol):
    """Runs jobs in parallel."""

    def run(self, title: str, jobs: list[Job]) -> list[Any]:
        """Run all jobs, largest first, and return their results in the order given.

        The first error stops the others at their next checkpoint and is raised.
        """
        ...
