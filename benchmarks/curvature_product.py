"""One Hessian product of SmolLM2-135M against two gradients of the same batch, curvlinops and hessian-eigenthings.

Every contender runs in a process of its own, for its peak memory, on the same loss of some 500 tokens. Two gradients
and a product are timed in turn, and what is compared are their ratios, so that a slow moment of the machine counts on
both sides. Products of one vector are compared with that of our operator in float64.

    make peers && .venv-peers/bin/python -m benchmarks.curvature_product
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.curvature_batch import described, freeze_examples, model_and_batch
from benchmarks.record import record
from diagnostics.curvature.central_difference import DifferenceOperator
from diagnostics.curvature.hessian import HessianOperator
from diagnostics.curvature.loss_terms import answer_loss_terms, twice_differentiable
from diagnostics.curvature.reductions import norm
from training.environment import usable_cores
from training.memory import peak_memory, reset_peak_memory
from training.model.loss import answer_losses

OURS = ("kept graph", "fresh graph", "central difference")
PEERS = {"curvlinops": "curvlinops", "hessian-eigenthings": "hessian_eigenthings"}
REFERENCE = "float64"
GRAPH_BYTES = 12 * 10**9


def contender(name: str, model: Any, batch: Any) -> Callable[[Tensor], Tensor]:
    """The function that multiplies a vector."""
    parameters = dict(model.named_parameters())
    if name in PEERS:
        from benchmarks import curvature_peers

        make = {
            "curvlinops": curvature_peers.curvlinops_hessian,
            "hessian-eigenthings": curvature_peers.eigenthings_hessian,
        }
        return twice_differentiable()(make[name](model, parameters, [batch]).__matmul__)
    terms = answer_loss_terms(model, [batch], "cross-entropy")
    if name == "central difference":
        return DifferenceOperator(parameters, terms).product
    return HessianOperator(parameters, terms, graph_bytes=GRAPH_BYTES if name == "kept graph" else 0).product


def one(name: str, folder: Path, tokens: int, rounds: int, threads: int) -> dict[str, Any]:
    """Measure a contender in this process; its first product is kept in ``folder`` and not timed."""
    torch.set_num_threads(threads)
    model, batch = model_and_batch(folder / "mixture", tokens, "float64" if name == REFERENCE else "float32")
    parameters = tuple(model.parameters())
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(sum(parameter.numel() for parameter in parameters), generator=generator)
    vector = (vector / norm(vector)).to(model.dtype)

    def two_gradients() -> None:
        for _ in range(2):
            loss = answer_losses(model, batch, "cross-entropy")[0].mean()
            torch.autograd.grad(loss, parameters)

    multiply = contender(name, model, batch)
    reset_peak_memory()
    np.save(folder / f"{name}.npy", multiply(vector).float().numpy())
    measured: dict[str, Any] = {"batch": described(batch)}
    if name != REFERENCE:
        multiply(vector)
        measured["peak_gigabytes"] = round(peak_memory() / 1e9, 2)
        two_gradients()
        pairs = [(seconds_of(two_gradients), seconds_of(lambda: multiply(vector))) for _ in range(rounds)]
        measured["seconds"] = round(median(product for _, product in pairs), 3)
        measured["two_gradients_seconds"] = round(median(gradients for gradients, _ in pairs), 3)
        measured["times_two_gradients"] = round(median(product / gradients for gradients, product in pairs), 3)
    return measured


def seconds_of(function: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def compare(names: list[str], tokens: int, rounds: int, threads: int) -> dict[str, Any]:
    """All contenders, one after the other."""
    result: dict[str, Any] = {"rounds": rounds, "threads": threads, "contenders": {}}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        freeze_examples(folder / "mixture")
        for name in [REFERENCE, *names]:
            command = [sys.executable, "-m", "benchmarks.curvature_product", "--one", name, place]
            options = ["--tokens", str(tokens), "--rounds", str(rounds), "--threads", str(threads)]
            done = subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True, check=True)
            measured = json.loads(done.stdout.splitlines()[-1])
            result["batch"] = measured.pop("batch")
            if name != REFERENCE:
                result["contenders"][name] = measured
        reference = torch.from_numpy(np.load(folder / f"{REFERENCE}.npy"))
        for name, measured in result["contenders"].items():
            error = norm(torch.from_numpy(np.load(folder / f"{name}.npy")) - reference) / norm(reference)
            measured["relative_error"] = float(f"{error:.2g}")
    ours = result["contenders"].get("kept graph")
    for peer in PEERS:
        if ours and peer in result["contenders"]:
            theirs = result["contenders"][peer]["times_two_gradients"]
            result[f"{peer}_over_kept_graph"] = round(theirs / ours["times_two_gradients"], 2)
    return result


def main() -> None:
    """Compare, or run one contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=502)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--contenders", nargs="+", help="all that are installed if left out")
    parser.add_argument("--one", nargs=2, metavar=("CONTENDER", "FOLDER"))
    arguments = parser.parse_args()
    options = (arguments.tokens, arguments.rounds, arguments.threads)
    if arguments.one is None:
        installed = [*OURS, *(peer for peer, module in PEERS.items() if find_spec(module))]
        record("curvature_product", compare(arguments.contenders or installed, *options))
        return
    name, folder = arguments.one
    sys.stdout.write("\n" + json.dumps(one(name, Path(folder), *options)) + "\n")


if __name__ == "__main__":
    main()
