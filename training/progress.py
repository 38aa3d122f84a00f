"""What a person sees while a run works: on a terminal bars with tokens/s and time left, else a line per stage."""

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text


class _TokensPerSecond(ProgressColumn):
    """Mean speed of a bar that counts tokens; messages come in bursts, so a recent speed would jump."""

    def render(self, task: Task) -> Text:
        elapsed = task.finished_time if task.finished else task.elapsed
        return Text(f"{task.completed / elapsed:,.0f} tokens/s" if elapsed and task.completed else "", style="cyan")


class JobBars:
    """One bar per job of a stage."""

    def __init__(self, bars: Bars, jobs: list[tuple[str, int]]) -> None:
        self._bars = bars
        self._ids = [bars.add_task(title, total=tokens or None, start=False) for title, tokens in jobs]
        self._tokens = [0] * len(jobs)

    def advance(self, number: int, tokens: int) -> None:
        """Job ``number`` has put ``tokens`` more tokens through the model; 0 when it begins."""
        self._tokens[number] += tokens
        self._bars.start_task(self._ids[number])
        self._bars.advance(self._ids[number], tokens)

    def finish(self, number: int) -> None:
        """Job ``number`` is done."""
        total = self._tokens[number] or 1  # what was expected was an estimate
        self._bars.start_task(self._ids[number])
        self._bars.update(self._ids[number], total=total, completed=total)


class Progress:
    """Progress on one console; quiet apart from stage lines when the console is not a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def line(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False, highlight=False)

    @contextlib.contextmanager
    def jobs(self, title: str, jobs: list[tuple[str, int]]) -> Iterator[JobBars]:
        """Bars for jobs, given as (title, expected tokens), while the block runs."""
        columns = (
            TextColumn(f"{title:<10} {{task.description}}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            _TokensPerSecond(),
            TimeRemainingColumn(),
        )
        disable = not self.console.is_terminal
        with Bars(*columns, console=self.console, transient=True, disable=disable) as bars:
            yield JobBars(bars, jobs)
