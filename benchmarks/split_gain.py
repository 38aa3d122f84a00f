"""Gains of all balanced splits of 20 tasks and of a million random ones of 136, against NumPy and plain loops.

Every contender finds the mean and the largest sᵀMs, enumeration or drawing included, in a process of its own, in turn
for several rounds. Loops are timed on a sample of the splits and scaled up; `loop` uses the functions of
merit_theory.partition, `lean_loop` bare NumPy. A first call compiles and is reported apart; memory is the peak of
anonymous pages above what was resident before the call. NumPy keeps all splits of 20 tasks at once, but draws random
ones in the same chunks as ours, because all of them would take gigabytes. Enumerating 26 tasks is timed last.

    .venv/bin/python -m benchmarks.split_gain
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, islice
from math import comb
from statistics import median
from typing import Any

os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "true"}

import jax
import numpy as np
from numpy.typing import NDArray

from benchmarks.merge import PeakAnonymousMemory
from benchmarks.record import record
from merit_theory.partition import (
    Partition,
    balanced_splits,
    between_group_objective,
    random_partition,
)
from merit_theory.split_search import CHUNK, SplitSurvey, survey_balanced_splits, survey_random_splits

Floats = NDArray[np.float64]
DIMENSION = 64
LOOP_SAMPLE = 2_000


def task_matrix(n_tasks: int) -> Floats:
    """M of centred gradients with curvatures that fall as one over their rank."""
    gradients = np.random.default_rng(n_tasks).standard_normal((n_tasks, DIMENSION))
    gradients -= gradients.mean(axis=0)
    return (gradients / np.arange(1, DIMENSION + 1)) @ gradients.T


def summary(forms: Iterable[float] | Floats) -> dict[str, float]:
    """What every contender reports."""
    values = np.fromiter(forms, dtype=np.float64)
    return {"mean": float(values.mean()), "largest": float(values.max())}


def signs_of(firsts: Iterable[tuple[int, ...]], n_tasks: int) -> Floats:
    """Rows of signs with +1 at task 0 and at the given others; [m, n_tasks]."""
    joined = np.array(list(firsts))
    signs = np.full((len(joined), n_tasks), -1.0)
    signs[:, 0] = 1
    np.put_along_axis(signs, joined, 1.0, axis=1)
    return signs


def forms_of_partitions(matrix: Floats, partitions: Iterable[Partition]) -> Iterator[float]:
    """sᵀMs from the objective that the pipeline's partitions are judged by, M having no mean."""
    for partition in partitions:
        yield len(matrix) * between_group_objective(partition, matrix)


def loop_all(matrix: Floats, splits: int) -> dict[str, float]:
    """The first splits, one by one, as partitions."""
    return summary(forms_of_partitions(matrix, islice(balanced_splits(len(matrix)), splits)))


def loop_random(matrix: Floats, splits: int) -> dict[str, float]:
    """Random splits, one by one, as partitions."""
    rng = np.random.default_rng(0)
    return summary(forms_of_partitions(matrix, (random_partition(len(matrix), 2, rng) for _ in range(splits))))


def lean_loop_all(matrix: Floats, splits: int) -> dict[str, float]:
    """The first splits, one by one, without any of our objects."""
    n_tasks = len(matrix)

    def forms() -> Iterator[float]:
        for others in islice(combinations(range(1, n_tasks), n_tasks // 2 - 1), splits):
            signs = np.full(n_tasks, -1.0)
            signs[0] = 1
            signs[list(others)] = 1
            yield float(signs @ matrix @ signs)

    return summary(forms())


def lean_loop_random(matrix: Floats, splits: int) -> dict[str, float]:
    """Random splits, one by one, without any of our objects."""
    rng, template = np.random.default_rng(0), np.repeat([1.0, -1.0], len(matrix) // 2)

    def forms() -> Iterator[float]:
        for _ in range(splits):
            signs = rng.permutation(template)
            yield float(signs @ matrix @ signs)

    return summary(forms())


def numpy_all(matrix: Floats, splits: int) -> dict[str, float]:
    """All splits as one array."""
    n_tasks = len(matrix)
    signs = signs_of(combinations(range(1, n_tasks), n_tasks // 2 - 1), n_tasks)
    return summary(np.einsum("ij,ij->i", signs @ matrix, signs))


def numpy_random(matrix: Floats, splits: int) -> dict[str, float]:
    """Random splits, one array a chunk."""
    rng, template = np.random.default_rng(0), np.repeat(np.array([1, -1], dtype=np.int8), len(matrix) // 2)
    forms = []
    for first in range(0, splits, CHUNK):
        rows = np.tile(template, (min(CHUNK, splits - first), 1))
        signs = rng.permuted(rows, axis=1).astype(np.float64)
        forms.append(np.einsum("ij,ij->i", signs @ matrix, signs))
    return summary(np.concatenate(forms))


def of_survey(survey: SplitSurvey) -> dict[str, float]:
    """The same numbers from ours, which has a histogram and the extreme splits besides."""
    return {"mean": survey.mean, "largest": survey.largest}


def ours_all(matrix: Floats, splits: int) -> dict[str, float]:
    """All splits, a chunk at a time."""
    return of_survey(survey_balanced_splits(matrix))


def ours_random(matrix: Floats, splits: int) -> dict[str, float]:
    """Random splits, a chunk at a time."""
    return of_survey(survey_random_splits(matrix, splits, jax.random.key(0)))


Contender = Callable[[Floats, int], dict[str, float]]
CONTENDERS: dict[str, dict[str, Contender]] = {
    "all": {"loop": loop_all, "lean_loop": lean_loop_all, "numpy": numpy_all, "ours": ours_all},
    "random": {"loop": loop_random, "lean_loop": lean_loop_random, "numpy": numpy_random, "ours": ours_random},
}


def one(case: str, contender: str, n_tasks: int, splits: int) -> dict[str, float]:
    """Run a contender in this process: the second call is timed, what the first took longer is compilation."""
    matrix, run = task_matrix(n_tasks), CONTENDERS[case][contender]
    timed = min(LOOP_SAMPLE, splits) if "loop" in contender else splits
    # A chunk compiles everything that random splits need; enumeration compiles for its number of tasks.
    warm_up = min(CHUNK, timed) if case == "random" else timed
    first_seconds, first_bytes, _ = measured(lambda: run(matrix, warm_up))
    seconds, anonymous_bytes, found = measured(lambda: run(matrix, timed))
    return {
        "seconds": seconds * splits / timed,
        "compile_seconds": max(0.0, first_seconds - seconds * warm_up / timed),
        "first_call_bytes": first_bytes,
        "anonymous_bytes": anonymous_bytes,
        "timed_splits": timed,
        **found,
    }


def measured(call: Callable[[], dict[str, float]]) -> tuple[float, int, dict[str, float]]:
    """Seconds, bytes and what was found."""
    memory = PeakAnonymousMemory()
    memory.start()
    began = time.perf_counter()
    found = call()
    seconds = time.perf_counter() - began
    return seconds, memory.stop(), found


def compare(case: str, n_tasks: int, splits: int, rounds: int, only: tuple[str, ...]) -> dict[str, Any]:
    """The contenders in turn, and how many times ours is faster."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in only}
    for _ in range(rounds):
        for name in only:
            command = [sys.executable, "-m", "benchmarks.split_gain", "--one", case, name, str(n_tasks), str(splits)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    result: dict[str, Any] = {"tasks": n_tasks, "splits": splits}
    for name, mine in runs.items():
        result[name] = {
            "seconds": float(f"{median(run['seconds'] for run in mine):.4g}"),
            "times_ours": float(
                f"{median(run['seconds'] / our['seconds'] for run, our in zip(mine, runs['ours'], strict=True)):.4g}"
            ),
            "compile_seconds": round(median(run["compile_seconds"] for run in mine), 2),
            "first_call_megabytes": round(max(run["first_call_bytes"] for run in mine) / 1e6, 1),
            "anonymous_megabytes": round(max(run["anonymous_bytes"] for run in mine) / 1e6, 1),
            "timed_splits": int(mine[0]["timed_splits"]),
            "mean": mine[0]["mean"],
            "largest": mine[0]["largest"],
        }
    return result


def main() -> None:
    """Compare, or run one contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=20, help="whose balanced splits are all evaluated")
    parser.add_argument("--many-tasks", type=int, default=136, help="whose splits are drawn at random")
    parser.add_argument("--draws", type=int, default=1_000_000)
    parser.add_argument("--most-tasks", type=int, default=26, help="whose balanced splits ours enumerates alone")
    parser.add_argument("--one", nargs=4, metavar="ARGUMENT", help="case, contender, tasks, splits")
    arguments = parser.parse_args()
    if arguments.one is not None:
        case, contender, n_tasks, splits = arguments.one
        sys.stdout.write("\n" + json.dumps(one(case, contender, int(n_tasks), int(splits))) + "\n")
        return
    tasks, most, rounds = arguments.tasks, arguments.most_tasks, arguments.rounds
    everyone = tuple(CONTENDERS["all"])
    result = {
        "rounds": rounds,
        "jax": jax.__version__,
        "chunk": CHUNK,
        "all": compare("all", tasks, comb(tasks, tasks // 2) // 2, rounds, everyone),
        "random": compare("random", arguments.many_tasks, arguments.draws, rounds, everyone),
        "enumerate": compare("all", most, comb(most, most // 2) // 2, rounds, ("ours",)),
    }
    record("split_gain", result)


if __name__ == "__main__":
    main()
