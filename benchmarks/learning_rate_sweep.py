"""A sweep of ten thousand runs of SGD and of gradient descent: JAX against a NumPy loop and against vectorised NumPy.

All runs train the same 64 quadratic tasks, for a hundred learning rates by a hundred seeds with starts and draws of
tasks of their own, in float64. All contenders get the same numbers and must return the same losses; the loop does a
sample of the runs and is scaled up. Compilation is told apart. Each contender has a process of its own, in turn for
several rounds; memory is the peak of anonymous pages during the sweep, compilation included.

    python -m benchmarks.learning_rate_sweep
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.merge import PeakAnonymousMemory
from benchmarks.record import record

METHODS = ("SGD", "gradient descent")
LOOP_SHARE = 50
"""The loop makes one in so many of the runs."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is to be run.

    Attributes:
        curvatures: float64 [d], eigenvalues of the shared Hessian.
        optima: float64 [N, d].
        starts: float64 [seeds, d].
        rates: float64 [rates].
        draws: int64 [seeds, steps], the task of every step of SGD.
    """

    curvatures: NDArray[np.float64]
    optima: NDArray[np.float64]
    starts: NDArray[np.float64]
    rates: NDArray[np.float64]
    draws: NDArray[np.int64]


def make_sweep(n_rates: int, n_seeds: int, steps: int) -> Sweep:
    """64 tasks in 32 dimensions, rates up to the stability edge."""
    rng = np.random.default_rng(0)
    return Sweep(
        curvatures=1 / np.arange(1.0, 33.0),
        optima=rng.standard_normal((64, 32)),
        starts=rng.standard_normal((n_seeds, 32)),
        rates=np.geomspace(0.01, 1.9, n_rates),
        draws=rng.integers(64, size=(n_seeds, steps)),
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """Final losses [rates, seeds], of the loop only those of its seeds, and what they cost in seconds."""

    losses: NDArray[np.float64]
    seconds: float
    compile_seconds: float = 0.0


def numpy_loop(sweep: Sweep, method: str) -> Outcome:
    """Run by run and step by step, as one writes it first; a sample of the seeds, scaled to all of them."""
    seeds = max(1, len(sweep.starts) // LOOP_SHARE)
    losses = np.empty((len(sweep.rates), seeds))
    centre = sweep.optima.mean(axis=0)
    began = time.perf_counter()
    for i, rate in enumerate(sweep.rates):
        for j in range(seeds):
            place = sweep.starts[j].copy()
            for task in sweep.draws[j]:
                target = sweep.optima[task] if method == "SGD" else centre
                place -= rate * (sweep.curvatures * (place - target))
            losses[i, j] = 0.5 * (sweep.curvatures * (place - sweep.optima) ** 2).sum(axis=1).mean()
    return Outcome(losses, (time.perf_counter() - began) * len(sweep.starts) / seeds)


def numpy_vectorised(sweep: Sweep, method: str) -> Outcome:
    """All runs at once, step by step, in place."""
    began = time.perf_counter()
    centre = sweep.optima.mean(axis=0)
    shrink = sweep.rates[:, None, None] * sweep.curvatures
    place = np.repeat(sweep.starts[None], len(sweep.rates), axis=0)
    for step in range(sweep.draws.shape[1]):
        target = sweep.optima[sweep.draws[:, step]] if method == "SGD" else centre
        place -= shrink * (place - target)
    # The mean over tasks of ½(x - a)² is ½(x - ā)² and half the variance of a.
    spread = 0.5 * (sweep.curvatures * sweep.optima.var(axis=0)).sum()
    losses = 0.5 * ((place - centre) ** 2 @ sweep.curvatures) + spread
    return Outcome(losses, time.perf_counter() - began)


def jax_vmapped(sweep: Sweep, method: str) -> Outcome:
    """One run of the theory, `sgd_displacement` or the closed form of gradient descent, over all seeds and rates."""
    import jax
    import jax.numpy as jnp

    from merit_theory.hessian import DiagonalHessian
    from merit_theory.linear_quadratic import LinearQuadraticModel, branch_displacements
    from merit_theory.sgd_run import sgd_displacement

    jax.config.update("jax_enable_x64", True)
    model = LinearQuadraticModel(DiagonalHessian(jnp.asarray(sweep.curvatures)), jnp.asarray(sweep.optima))
    steps, key = sweep.draws.shape[1], jax.random.key(0)
    optimum = model.optimum()
    least = model.loss(optimum)

    def final_loss(rate: jax.Array, start: jax.Array, draws: jax.Array) -> jax.Array:
        if method == "SGD":
            moved = sgd_displacement(model, start, draws[:, None], rate, key)
        else:
            moved = branch_displacements(model, start, model.uniform[None, :], rate, steps)[0]
        return least + 0.5 * model.hessian.quadratic_form(start + moved - optimum)

    # Rate by rate, the runs of all seeds stay in the processor's cache from step to step.
    over_seeds = jax.vmap(final_loss, (None, 0, 0))
    run = jax.jit(lambda rates, *own: jax.lax.map(lambda rate: over_seeds(rate, *own), rates))
    arguments = jnp.asarray(sweep.rates), jnp.asarray(sweep.starts), jnp.asarray(sweep.draws)
    began = time.perf_counter()
    compiled = run.lower(*arguments).compile()
    compile_seconds = time.perf_counter() - began
    began = time.perf_counter()
    losses = np.asarray(compiled(*arguments))
    return Outcome(losses, time.perf_counter() - began, compile_seconds)


CONTENDERS: dict[str, Callable[[Sweep, str], Outcome]] = {
    "NumPy loop": numpy_loop,
    "NumPy vectorised": numpy_vectorised,
    "JAX": jax_vmapped,
}


def one(contender: str, method: str, sizes: tuple[int, int, int]) -> dict[str, Any]:
    """Run a contender in this process; the losses of the loop's seeds go along for comparison."""
    sweep = make_sweep(*sizes)
    memory = PeakAnonymousMemory()
    memory.start()
    outcome = CONTENDERS[contender](sweep, method)
    compared = outcome.losses[:, : max(1, sizes[1] // LOOP_SHARE)]
    return {
        "seconds": outcome.seconds,
        "compile_seconds": outcome.compile_seconds,
        "anonymous_bytes": memory.stop(),
        "losses": compared.ravel().tolist(),
    }


def compare(rounds: int, sizes: tuple[int, int, int]) -> dict[str, Any]:
    """All contenders in turn, for both methods; their losses must agree."""
    result: dict[str, Any] = {"rounds": rounds, "rates": sizes[0], "seeds": sizes[1], "steps": sizes[2]}
    for method in METHODS:
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
        for _ in range(rounds):
            for name in CONTENDERS:
                command = [sys.executable, "-m", "benchmarks.learning_rate_sweep", "--one", name, method]
                command += [str(size) for size in sizes]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
                runs[name].append(json.loads(done.stdout.splitlines()[-1]))
        reference = runs["NumPy loop"][0]["losses"]
        times = {name: [run["seconds"] for run in mine] for name, mine in runs.items()}
        result[method] = {
            name: {
                "seconds": round(median(times[name]), 4),
                "compile_seconds": round(median(run["compile_seconds"] for run in mine), 3),
                "anonymous_megabytes": round(max(run["anonymous_bytes"] for run in mine) / 1e6, 1),
                "largest_relative_difference_to_the_loop": float(
                    np.max(np.abs(np.divide(mine[0]["losses"], reference) - 1))
                ),
                "times_faster_is_jax": round(
                    median(other / ours for other, ours in zip(times[name], times["JAX"], strict=True)), 2
                ),
            }
            for name, mine in runs.items()
        }
        differences = [entry["largest_relative_difference_to_the_loop"] for entry in result[method].values()]
        if max(differences) > 1e-10:
            raise RuntimeError(
                f"{method}: the contenders do not compute the same losses, they differ by {max(differences)}"
            )
    return result


def main() -> None:
    """Compare, or run one contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs=3, metavar=("RATES", "SEEDS", "STEPS"), default=(100, 100, 128))
    parser.add_argument("--one", nargs=5, metavar="ARGUMENT", help="contender, method, rates, seeds and steps")
    arguments = parser.parse_args()
    if arguments.one is None:
        record("learning_rate_sweep", compare(arguments.rounds, tuple(arguments.sizes)))
        return
    name, method, *sizes = arguments.one
    n_rates, n_seeds, steps = map(int, sizes)
    sys.stdout.write("\n" + json.dumps(one(name, method, (n_rates, n_seeds, steps))) + "\n")


if __name__ == "__main__":
    main()
