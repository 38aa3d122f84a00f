"""What there is to draw, in the order of the gallery: where its numbers come from, and what of the paper it redraws."""

from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from types import ModuleType


class Source(StrEnum):
    """Whose files an entry reads; its module lies in the package of this name, and takes this as its argument."""

    RUN = "run"
    PARTITION = "partition"
    REPORT = "report"
    STUDY = "study"
    SIMULATION = "simulation"


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture or table.

    Attributes:
        source: whose files it reads.
        name: of its module, of its files, and on the command line.
        paper: the item of the paper (arXiv 2606.01717) that it redraws; empty where the paper has none.
    """

    source: Source
    name: str
    paper: str = ""

    def module(self) -> ModuleType:
        """Module with ``draw``, which gives a picture, or ``tabulate``, which gives a table."""
        return import_module(f"figures.{self.source}.{self.name}")


CATALOGUE: tuple[Entry, ...] = (
    Entry(Source.RUN, "arms", "Tables 2 to 4"),
    Entry(Source.RUN, "arm_differences"),
    Entry(Source.RUN, "scores_table", "Tables 2 to 4"),
    Entry(Source.RUN, "clustering_table", "Table 10"),
    Entry(Source.RUN, "raw_gram_table", "Table 20"),
    Entry(Source.RUN, "operators_table", "Table 12, Figure 3"),
    Entry(Source.RUN, "gain_and_loss"),
    Entry(Source.RUN, "gradient_norms_table", "Table 19"),
    Entry(Source.RUN, "cost_by_stage"),
    Entry(Source.RUN, "cost_table", "Table 17"),
    Entry(Source.RUN, "timing_table", "Tables 14, 15"),
    Entry(Source.RUN, "retention_table"),
    Entry(Source.PARTITION, "pipeline", "Figure 1"),
    Entry(Source.PARTITION, "conflict_heat_map"),
    Entry(Source.PARTITION, "task_map"),
    Entry(Source.PARTITION, "task_embedding", "Figure 5"),
    Entry(Source.REPORT, "losses"),
    Entry(Source.REPORT, "task_losses"),
    Entry(Source.REPORT, "gain_check"),
    Entry(Source.REPORT, "connectivity", "Table 6"),
    Entry(Source.REPORT, "interpolation_table", "Table 6"),
    Entry(Source.REPORT, "flatness", "Figure 4"),
    Entry(Source.REPORT, "landscape", "Figure 2"),
    Entry(Source.REPORT, "landscape_3d", "Figure 2"),
    Entry(Source.REPORT, "displacement_over_training"),
    Entry(Source.REPORT, "trajectories", "Figure 6"),
    Entry(Source.REPORT, "displacement_by_layer"),
    Entry(Source.REPORT, "alignment", "Table 21"),
    Entry(Source.REPORT, "alignment_table", "Table 21"),
    Entry(Source.REPORT, "spectrum"),
    Entry(Source.REPORT, "calibration", "Table 11"),
    Entry(Source.REPORT, "calibration_table", "Table 11"),
    Entry(Source.REPORT, "sketch_fidelity", "Table 16"),
    Entry(Source.REPORT, "sketch_fidelity_table", "Table 16"),
    Entry(Source.STUDY, "displacement_by_epoch", "Tables 1, 7"),
    Entry(Source.STUDY, "displacement_by_epoch_table", "Tables 1, 7"),
    Entry(Source.STUDY, "learning_rates", "Table 18"),
    Entry(Source.STUDY, "learning_rates_table", "Table 18"),
    Entry(Source.STUDY, "seeds_table", "Tables 8, 9"),
    Entry(Source.SIMULATION, "learning_rate_sweep", "Table 18"),
    Entry(Source.SIMULATION, "merged_against_gain"),
    Entry(Source.SIMULATION, "split_rules"),
    Entry(Source.SIMULATION, "centring"),
    Entry(Source.SIMULATION, "recursive_splits"),
    Entry(Source.SIMULATION, "heterogeneous_hessians"),
    Entry(Source.SIMULATION, "spectral_filtering"),
    Entry(Source.SIMULATION, "drift_corrected_merge"),
    Entry(Source.SIMULATION, "least_drift_split"),
    Entry(Source.SIMULATION, "swap_on_gram"),
    Entry(Source.SIMULATION, "unbalanced_groups"),
    Entry(Source.SIMULATION, "sign_descent_cancellation"),
    Entry(Source.SIMULATION, "small_network"),
)
"""Every entry's name is its own, and so is the experiment's under which a simulation's picture goes."""

NAMES = tuple(entry.name for entry in CATALOGUE)
