"""Results of every experiment, small and by hand: random arrays in its shape, and the findings it makes of them."""

import json
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from figures.simulation_result import SimulationResult

N = 4
"""Instances of every experiment."""

SPLITS = 5


def shapes(name: str, longest: bool) -> dict[str, Any]:
    """Shapes of the arrays of random numbers, and arrays that are axes, at one or at many values of the knobs."""
    few = np.array([0.02, 0.5]) if not longest else np.geomspace(0.01, 30, 9)
    steps = np.array([2, 20]) if not longest else np.array([1, 2, 5, 10, 20, 50, 100, 200, 1000])
    p, t = len(few), len(steps)
    experiment = import_module(f"simulations.{name}")
    if name == "learning_rate_sweep":
        rates, arms = np.array([0.01, *few[few < 2], 1.9, 2.05]), experiment.ARMS
        r = len(rates)
        counts = {"arms": np.array(arms), "steps": np.arange(1, len(arms) + 1) * 8, "rates": np.sort(rates)}
        return counts | {
            "loss": (2, len(arms), r, N),
            "own_hessians": (7, r, N),
            "law_error": (2, r),
            "stratified_difference": (2, r),
        }
    if name == "merged_against_gain":
        levels = np.array([0.0, 1.0]) if not longest else np.array([0.0, 0.1, 0.3, 0.6, 1.0])
        cell = (len(levels), 2, t, N)
        losses = dict.fromkeys(("branch_loss", "gain", "merged_loss"), (*cell, SPLITS))
        return (
            {"heterogeneity": levels, "steps": steps}
            | losses
            | dict.fromkeys(("joint_equal_steps", "joint_equal_tokens"), cell)
        )
    if name == "split_rules":
        ensembles = import_module("simulations.gradient_ensembles").ENSEMBLES
        rules = [rule.words for rule in experiment.RULES]
        return {
            "task_numbers": np.array([4, 8]),
            "decays": np.array([1.0]),
            "ensembles": np.array(ensembles),
            "rules": np.array(rules),
            "ratios": (1, len(ensembles), 2, N, len(rules)),
            "random_mean": (1, len(ensembles), 2, N),
        }
    if name == "centring":
        knobs = {"tilts": np.array([0.0, 0.5]), "means": np.arange(len(few)) * 1.0, "spreads": np.array([0.0, 0.4])}
        cell = (2, p, 2)
        return knobs | {
            "axes": np.array(experiment.AXES),
            "alignment": (*cell, 6, N),
            "gain": (*cell, 6, N),
            "random_gain": (*cell, N),
            "agreement": (*cell, 3, N),
            "same_side": (*cell, 3, N),
            "bound": (*cell, N),
        }
    if name == "recursive_splits":
        names = ("gain", "first_order_gain", "merged_loss", "sgd_merged_loss")
        joint = {"random_gain": (2, 2, 3, N), "joint_loss": (2, 2, N)}
        return {"rates": np.array([0.001, 0.5])} | dict.fromkeys(names, (2, 2, 2, 3, N)) | joint
    if name == "heterogeneous_hessians":
        losses = dict.fromkeys(("branch_loss", "gain", "merged_loss"), (2, t, N, SPLITS))
        joint = dict.fromkeys(("joint_equal_steps", "joint_equal_tokens"), (2, t, N))
        edges = dict.fromkeys(("gradient_descent_edge", "sgd_edge"), (N, SPLITS))
        chosen = {"chosen": np.zeros((2, 2, N), dtype=np.int64), "drift_rates": few}
        drift = {"drift_error": (p, N), "drift_error_two_steps": (N,)}
        return {"steps": steps} | losses | joint | chosen | drift | edges
    if name == "spectral_filtering":
        rest = {"losses": (2, 2, 4, 3, N, t), "start": (2, 2, 3, N)}
        return {"steps": steps, "curvatures": (6,), "filter_factors": (t, 6)} | rest
    if name == "drift_corrected_merge":
        return {"steps": np.array(20), "progress": few, "distance": (4, p, N), "loss": (6, p, N), "gain": (p, N)}
    if name == "least_drift_split":
        names = ("distance", "gain", "branch_loss", "merged_loss")
        own = {"drift_norm": (N, SPLITS), "sketch_sizes": np.array([8, 64]), "sketched_drift_norm": (2, N, SPLITS)}
        joint = dict.fromkeys(("joint_equal_steps", "joint_equal_tokens"), (p, N))
        return {"progress": few} | own | dict.fromkeys(names, (p, N, SPLITS)) | joint | {"pca": np.zeros(N, np.int64)}
    if name == "swap_on_gram":
        knobs = {"noise_to_signal": np.array([0.0, 2.4]), "epochs": np.array([1, 8]), "learning_rates": few}
        losses = dict.fromkeys(("branch_loss", "merged_loss", "joint_loss"), (3, 2, 2, 2, p, N))
        return knobs | {"within_share": (3, N)} | losses | {"stratified_ratio": (2, N)}
    if name == "unbalanced_groups":
        cells = dict.fromkeys(("bias", "branch_loss", "gain", "merged_loss"), (2, 2, 3, 3, N))
        joint = {"joint_equal_steps": (3, N), "joint_equal_tokens": (3, N), "instance_error": (2, 3)}
        progress = np.array([0.05, 0.5, 5.0])
        return {"progress": progress, "larger_share": (3, N), "start_loss": (N,)} | cells | joint
    if name == "sign_descent_cancellation":
        ratios = {"signal_to_noise": few, "disagreement": (2, N), "noiseless_length": (2, N)}
        return ratios | {"length": (2, p, N), "descent": (2, p, N), "simulated_length": (3, 2, p, N)}
    assert name == "small_network"
    losses = dict.fromkeys(("branch_loss", "merged_loss"), (2, t, N, SPLITS, 2))
    joint = dict.fromkeys(("joint_half_steps", "joint_equal_steps", "joint_equal_tokens"), (2, t, N, 2))
    return {"snapshots": steps, "start_loss": (N, 2)} | losses | joint | {"pca": np.zeros(N, dtype=np.int64)}


@cache
def result_of(name: str, longest: bool = False) -> SimulationResult:
    """A result with random arrays between 0.1 and 1."""
    experiment = import_module(f"simulations.{name}")
    rng = np.random.default_rng(7)
    given = shapes(name, longest)
    arrays = {
        field.name: rng.uniform(0.1, 1, given[field.name])
        if isinstance(given[field.name], tuple)
        else given[field.name]
        for field in fields(experiment.Result)
    }
    findings = json.loads(json.dumps(experiment.Result(**arrays).findings))
    return SimulationResult(name, arrays, {}, findings)


@pytest.fixture
def small_result() -> Callable[..., SimulationResult]:
    """Makes the result of an experiment by its name."""
    return result_of
