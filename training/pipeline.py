"""Algorithm 1 of the paper from mixture to table, as stages over one run directory.

Every stage looks at what is already there under the hashes of its inputs, so the same command continues a run that was
stopped and does nothing twice.
"""

import time
from pathlib import Path

from training.arms.names import check_arms, parse_arms
from training.config import Recipe
from training.environment import describe_environment
from training.events import Events
from training.launch.local import LocalPool
from training.mixture import freeze
from training.progress import Progress
from training.results.cost_of_run import cost_of_run
from training.results.summary import Summary, summarise
from training.run_directory import RunDirectory, write_json, write_text
from training.stages import Stages


def run_recipe(recipe: Recipe, out: Path, progress: Progress, time_budget: float | None) -> Summary:
    """Run a recipe in the run directory ``out`` and return its summary.

    Args:
        recipe: what to do.
        out: the run directory; created, or continued where it holds a run.
        progress: where to show what happens.
        time_budget: seconds after which the run stops so that it can be continued; None for no limit.

    Raises:
        InputError: the recipe, its data or its model cannot be used.
        Interrupted: the time budget is used up or a worker died; the same command continues.
    """
    deadline = None if time_budget is None else time.monotonic() + time_budget
    arms = parse_arms(recipe)
    run = RunDirectory(out.resolve())
    resources = recipe.resources
    with run.lock():
        write_text(run.config, recipe.to_toml())
        write_json(run.environment, describe_environment())
        events = Events(run, progress)
        with events.stage("mixture"):
            mixture = freeze(recipe.mixture, recipe.seed, run.mixture)
            check_arms(arms, recipe, mixture.tasks)
        with LocalPool(
            resources.workers, resources.threads, resources.device, progress, deadline, run.workers_lock
        ) as launcher:
            stages = Stages(recipe, run, mixture, launcher)
            with events.stage("start"):
                stages.prepare_start()
            with events.stage("conflicts"):
                conflicts = stages.measure_conflicts()
            with events.stage("partitions"):
                specs = stages.specify(arms, conflicts)
            with events.stage("branches"):
                stages.train(specs)
            with events.stage("merge"):
                stages.assemble(arms, specs)
            with events.stage("evaluation"):
                stages.evaluate(arms, specs)
        with events.stage("summary"):
            cost = cost_of_run(run, recipe, mixture.tasks, arms, specs)
            return summarise(run, recipe, arms, specs, stages.primer, events.seconds, cost)
