"""Proposition F.10 for any gradients and any number of groups."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from merit_theory.ensembles import TaskTable, student, tables
from merit_theory.group_search import between_group_forms, equal_partitions
from merit_theory.propositions.proposition import Claim, Demonstration, Outcome, Proposition, Sides
from merit_theory.quick_jit import quick_jit
from merit_theory.split_gain import expected_random_gain, partition_gain

N_TASKS, N_GROUPS = 6, 3
PARTITIONS = equal_partitions(N_TASKS, N_GROUPS)


def _sides(table: TaskTable) -> Sides:
    """The mean over all 15 partitions of six tasks into three pairs against the closed form."""
    matrix = table.matrix
    members = jax.nn.one_hot(jnp.asarray(PARTITIONS), N_GROUPS, dtype=jnp.float64)
    gains = jax.vmap(lambda indicators: partition_gain(matrix, indicators, 1.0))(members)
    return Sides(gains.mean(), expected_random_gain(matrix, N_GROUPS, 1.0), jnp.trace(matrix))


def _other_shapes(rng: np.random.Generator) -> Outcome:
    """All partitions of 8 tasks into 2 and 4 groups and of 9 into 3, on one uncentred heavy-tailed table each."""
    worst = 0.0
    for n_tasks, n_groups in ((8, 2), (8, 4), (9, 3), (12, 2)):
        gradients = student(rng, (n_tasks, 4)) + 3.0
        matrix = gradients @ gradients.T
        labels = equal_partitions(n_tasks, n_groups).astype(np.int64)
        forms = quick_jit(partial(between_group_forms, n_groups=n_groups))(matrix, labels)
        expected = quick_jit(partial(expected_random_gain, n_groups=n_groups, step=1.0))(matrix)
        worst = max(worst, abs(float(forms.mean() / (2 * n_tasks) / expected) - 1))
    return Outcome(worst < 1e-9, f"(N, K) = (8, 2), (8, 4), (9, 3), (12, 2): relative error at most {worst:.0e}")


PROPOSITION = Proposition(
    id="prop-f.10-groups",
    reference="Proposition F.10, extended by this project",
    statement="Over random partitions into K groups merged by their shares, E G_K = ½(ητ)²tr(PMP)(K−1)/(N(N−1)), "
    "without any hypothesis on the gradients.",
    scope="one-step",
    verdict="holds",
    claim=Claim(
        reads="E G_K = ½(ητ)²tr(PMP)(K−1)/(N(N−1))",
        sides=_sides,
        relation="=",
        ensembles=(tables(N_TASKS),),
        tolerance=1e-11,
    ),
    demonstrations=(Demonstration("exhaustive for other sizes", _other_shapes),),
)
