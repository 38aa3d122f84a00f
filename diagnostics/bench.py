"""What every diagnostic measures with: the checkpoints, the one network, the examples and the draws."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diagnostics.checkpoints import Checkpoints
from diagnostics.cost import Meter
from diagnostics.probe import Encoding, Probe
from diagnostics.resampling import Resamples
from diagnostics.settings import DiagnosticSettings
from training.errors import InputError
from training.mixture import Task
from training.model.network import Network, Point
from training.run_directory import ReportDirectory, RunDirectory
from training.seeds import child_generator


@dataclass
class Bench:
    """A place to measure at.

    Attributes:
        checkpoints: the models.
        network: the one that is in memory; whoever uses it moves it first.
        tasks: where examples come from.
        encoding: how they become micro-batches.
        probe: the examples that losses are measured on.
        objective: a key of :data:`training.model.loss.OBJECTIVES`.
        trainable: patterns of the names of the parameters that were trained.
        settings: how much is measured.
        directory: where results go.
        run: the run that the models come from, if any.
        meter: counts what the present diagnostic does.
    """

    checkpoints: Checkpoints
    network: Network
    tasks: Sequence[Task]
    encoding: Encoding
    probe: Probe
    objective: str
    trainable: tuple[str, ...]
    settings: DiagnosticSettings
    directory: ReportDirectory
    run: RunDirectory | None = None
    meter: Meter = field(default_factory=Meter)

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """Names of the parameters that were trained, in the network's order."""
        names = self.network.parameters
        return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in self.trainable))

    @cached_property
    def resamples(self) -> Resamples:
        """Draws of the probe's items."""
        return self.resamples_of(self.probe.task, self.probe.tokens)

    def resamples_of(self, stratum: NDArray[np.int64], tokens: NDArray[np.int64]) -> Resamples:
        """Draws of other units, from the same seed."""
        return Resamples.of(stratum, tokens, self.settings.bootstrap, self.generator("bootstrap"))

    def generator(self, purpose: str, index: int | str = 0) -> np.random.Generator:
        """A generator of its own for each purpose, from the settings' seed."""
        return child_generator(self.settings.seed, purpose, index)

    def losses_at(self, point: Point, probe: Probe | None = None) -> NDArray[np.float64]:
        """Move the network to ``point`` and measure: nats summed over each item's answer tokens, float64 [n_items].

        Raises:
            InputError: a loss at a checkpoint itself is not finite.
        """
        self.network.move_to(point)
        losses = self.losses_here(probe or self.probe)
        if not np.isfinite(losses).all():
            where = " + ".join(f"{factor:g}·{name}" for name, factor in point.items() if factor)
            raise InputError(f"the loss at {where} is not finite; check these checkpoints and the examples")
        return losses

    def losses_here(self, probe: Probe) -> NDArray[np.float64]:
        """The same where the network is, infinite or NaN where it is: float64 [n_items]."""
        return probe.losses(self.network.model, self.objective, self.meter.advance)
