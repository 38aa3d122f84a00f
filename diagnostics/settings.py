"""How much is measured: the presets ``quick``, ``cpu`` and ``gpu``, and what of them a user may change."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from training.settings_file import Settings, read_settings

PRESETS = Path(__file__).parent / "presets"

Preset = Literal["quick", "cpu", "gpu"]


class ProbeSettings(Settings):
    """Examples of each task that losses are measured on (test split), and padded tokens of a micro-batch."""

    per_task: int | None = Field(default=None, ge=1)
    batch_tokens: int = Field(default=2048, ge=1)


class GainCheckSettings(Settings):
    """The gain check: examples of each task, the first of the probe's, and padded tokens of a product's micro-batch."""

    per_task: int | None = Field(default=None, ge=1)
    batch_tokens: int = Field(default=512, ge=1)


class ConnectivitySettings(Settings):
    """Points on each path, ends included; an odd number, so that the midpoint is one of them."""

    points: int = Field(default=21, ge=3)

    @field_validator("points")
    @classmethod
    def _odd(cls, points: int) -> int:
        if points % 2 == 0:
            raise ValueError(f"{points} points leave out the midpoint; take {points + 1}")
        return points


class FlatnessSettings(Settings):
    """Noise of relative size σ (standard deviation over the weights' root mean square), and draws of it."""

    isotropic: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    filter_normalised: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    draws: int = Field(default=5, ge=2)
    per_task: int | None = Field(default=None, ge=1)


class LandscapeSettings(Settings):
    """Points along each side of the loss surfaces, examples of each task, and which planes."""

    points: int = Field(default=15, ge=3)
    per_task: int | None = Field(default=4, ge=1)
    planes: tuple[Literal["pca", "random"], ...] = ("pca", "random")


class AlignmentSettings(Settings):
    """Hessian eigenvectors against conflict directions (appendix F.3).

    ``parameters`` are patterns of the names of parameters, or ``last-layer`` for those of the last layer, whatever the
    architecture calls it; those that were trained count. ``without_norms`` measures again without one-dimensional ones.

    ``tasks`` are chosen as the paper does, the outermost task in each quadrant of the embedding; ``per_task`` of their
    examples make the Hessian, ``gradient_examples`` of every task the conflict directions.
    """

    parameters: tuple[str, ...] = ("*",)
    without_norms: bool = True
    tasks: int = Field(default=4, ge=1)
    per_task: int = Field(default=50, ge=1)
    gradient_examples: int = Field(default=50, ge=2)
    eigenvectors: int = Field(default=10, ge=1)
    directions: int = Field(default=3, ge=1)
    tolerance: float = Field(default=1e-2, gt=0)
    max_products: int = Field(default=100, ge=2)
    budget_gb: float = Field(default=6.0, gt=0)
    graph_gb: float = Field(default=0.0, ge=0)
    density_probes: int = Field(default=0, ge=0)
    density_steps: int = Field(default=30, ge=1)
    mass_steps: int = Field(default=1, ge=1)
    null_draws: int = Field(default=2000, ge=100)


class CalibrationSettings(Settings):
    """Random splits of each task's micro-batches, and tasks (the first ones; all if None) with uncompressed gradients.

    ``budget_gb`` is for those gradients; where it does not hold all of them, they are computed part by part.
    """

    splits: int = Field(default=200, ge=1)
    tasks: int | None = Field(default=None, ge=0)
    budget_gb: float = Field(default=6.0, gt=0)


class DiagnosticSettings(Settings):
    """Everything a report can be told."""

    seed: int = Field(default=0, ge=0)
    bootstrap: int = Field(default=1000, ge=100)
    probe: ProbeSettings = ProbeSettings()
    gain_check: GainCheckSettings = GainCheckSettings()
    connectivity: ConnectivitySettings = ConnectivitySettings()
    flatness: FlatnessSettings = FlatnessSettings()
    landscape: LandscapeSettings = LandscapeSettings()
    alignment: AlignmentSettings = AlignmentSettings()
    calibration: CalibrationSettings = CalibrationSettings()


def load_preset(preset: Preset, overrides: Sequence[str]) -> DiagnosticSettings:
    """The settings of a preset with ``key.path=value`` overrides.

    Raises:
        InputError: an unknown key or a wrong type.
    """
    return read_settings(DiagnosticSettings, PRESETS / f"{preset}.toml", overrides, "preset")
