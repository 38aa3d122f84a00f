"""What the command was given to draw from, and what of it an entry of the catalogue takes."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures.catalogue import Entry, Source
from figures.simulation_result import SimulationResult
from training.errors import InputError, MissingInput
from training.run_directory import RunDirectory, read_json


@dataclass(frozen=True, slots=True)
class Given:
    """Inputs of the command.

    Attributes:
        runs: in the order given; pictures of several runs take them all, others are drawn for each.
        arms: whose reports and partitions are drawn; if empty, all reports, and the first partition along axes.
        simulations: folder of results of ``python -m simulations``.
    """

    runs: Sequence[RunDirectory]
    arms: Sequence[str]
    simulations: Path | None

    def arguments(self, entry: Entry) -> Iterator[tuple[Path, Sequence[Any]]]:
        """Folder, below that of all output, and arguments for each time that ``entry`` is drawn.

        A run without what the entry is drawn from is passed over where another one has it.

        Raises:
            MissingInput: nothing was given that ``entry`` could be drawn from.
            InputError: a file is damaged.
        """
        if entry.source is Source.SIMULATION:
            if self.simulations is None:
                raise MissingInput("it takes --simulations, a folder that python -m simulations all --out DIR writes")
            yield Path(), (SimulationResult.read(self.simulations, entry.name),)
            return
        if not self.runs:
            raise MissingInput("it takes --run, a run directory that python -m training run writes")
        if entry.source is Source.STUDY:
            yield Path(), (self.runs,)
            return
        lacking: list[MissingInput] = []
        for run in self.runs:
            folder = Path(run.root.resolve().name) if len(self.runs) > 1 else Path()
            try:
                if entry.source is Source.RUN:
                    yield folder, (run,)
                elif entry.source is Source.PARTITION:
                    for partition in self._partitions(run):
                        yield folder / partition, (run, partition)
                else:
                    for arm in self._reports(run):
                        yield folder / arm, (run.report(arm),)
            except MissingInput as missing:
                lacking.append(missing)
        if len(lacking) == len(self.runs):
            raise lacking[0]

    def command(self, entry: Entry) -> str:
        """What draws ``entry`` alone from the same inputs."""
        words = ["python", "-m", "figures", entry.name]
        if entry.source is Source.SIMULATION:
            words += ["--simulations", str(self.simulations)]
        else:
            words += [word for run in self.runs for word in ("--run", str(run.root))]
            words += [word for arm in self.arms for word in ("--arm", arm)]
        return shlex.join([*words, "--out", "DIR"])

    def _reports(self, run: RunDirectory) -> Sequence[str]:
        arms = [arm for arm in run.reported_arms if not self.arms or arm in self.arms]
        if not arms:
            raise MissingInput(f"{run.root} holds no report{self._of_arms()}; run python -m diagnostics {run.root}")
        return arms

    def _partitions(self, run: RunDirectory) -> Sequence[str]:
        names = sorted(path.stem for path in run.partition("*").parent.glob("*.json"))
        if self.arms:
            names = [name for name in names if name in self.arms]
        else:
            names = [name for name in names if "axes" in read_json(run.partition(name))][:1] or names[:1]
        if not names:
            raise MissingInput(f"{run.root} holds no partition{self._of_arms()}; run an arm such as merit-1d")
        return names

    def _of_arms(self) -> str:
        return f" of {', '.join(self.arms)}" if self.arms else ""


def given(runs: Sequence[Path], arms: Sequence[str], simulations: Path | None) -> Given:
    """What the command's options name.

    Raises:
        InputError: nothing is named, a folder does not exist, two runs have one name, or no run has an arm named.
    """
    if not runs and simulations is None:
        raise InputError("there is nothing to draw from; give --run, --simulations or both")
    for option, folder in [*(("--run", run) for run in runs), ("--simulations", simulations)]:
        if folder is not None and not folder.is_dir():
            raise InputError(f"{option} {folder} is not a folder; give the --out of the command that wrote it")
    for run in runs:
        if not RunDirectory(run).config.is_file():
            raise InputError(f"--run {run} is no run directory, it has no config.toml; give the --out of a run")
    names = [run.resolve().name for run in runs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two runs are called {twice}, and their pictures would overwrite each other; rename one")
    directories = [RunDirectory(run) for run in runs]
    for arm in arms:
        if not any(run.arm(arm).is_dir() or run.partition(arm).is_file() for run in directories):
            raise InputError(f"--arm {arm}: no run has such an arm; name one that summary.md lists")
    return Given(directories, arms, simulations)
