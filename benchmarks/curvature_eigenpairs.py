"""The ten eigenvalues of largest magnitude of SmolLM2-135M's Hessian, within 22 half-precision vectors of memory.

Beside it ARPACK (SciPy) with as many vectors, and hessian-eigenthings' Lanczos, which keeps every vector, on the same
operator: products until all ten have a relative residual ‖Hv − θv‖ / |θ| of 1e-2, seconds, and memory; the residuals
reported are true ones. They are compared on the last block's Hessian. On the full one only ours runs: ARPACK's vectors
take 11.8 GB in float32 beside some 8 GB for a product, hessian-eigenthings' more, as it never restarts; ``--full`` runs
them too where there is that much memory.

    make peers && .venv-peers/bin/python -m benchmarks.curvature_eigenpairs
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from benchmarks.curvature_batch import described, freeze_examples, model_and_batch
from benchmarks.record import record
from diagnostics.curvature.hessian import HessianOperator
from diagnostics.curvature.lanczos import largest_eigenpairs
from diagnostics.curvature.loss_terms import answer_loss_terms
from diagnostics.curvature.reductions import dot, norm
from training.environment import usable_cores
from training.memory import peak_memory, reset_peak_memory
from training.model.load import choose_trainable

COUNT = 10
TOLERANCE = 1e-2
VECTORS = 22
MOST_KEPT = 60
"""Vectors that hessian-eigenthings may keep."""
PARAMETERS = {"last block": ["model.layers.29.*"], "all": ["*"]}
CONTENDERS = ("ours", "arpack", "hessian-eigenthings")
GRAPH_BYTES = 8 * 10**9


class Counted:
    """An operator that counts its products and how long they take."""

    def __init__(self, operator: HessianOperator) -> None:
        self.operator = operator
        self.dimension, self.device, self.dtype = operator.dimension, operator.device, operator.dtype
        self.begin()

    def begin(self) -> None:
        """Count from here on."""
        self.products = 0
        self.seconds = 0.0
        self.began = time.perf_counter()

    def finished(self) -> dict[str, Any]:
        """What was counted."""
        whole = time.perf_counter() - self.began
        return {"products": self.products, "seconds": round(whole, 1), "seconds_in_products": round(self.seconds, 1)}

    def product(self, vector: Tensor) -> Tensor:
        """One more product."""
        began = time.perf_counter()
        result = self.operator.product(vector)
        self.products += 1
        self.seconds += time.perf_counter() - began
        sys.stderr.write(f"\rproduct {self.products}")
        return result

    def residuals(self, values: list[float], vectors: list[Tensor]) -> list[float]:
        """True relative residuals, by products that are not counted."""
        found = []
        for value, vector in zip(values, vectors, strict=True):
            image = self.operator.product(vector)
            quotient = dot(vector, image) / norm(vector) ** 2
            found.append(norm(image - quotient * vector) / norm(vector) / abs(value))
        return found


def ours(operator: Counted, max_products: int) -> dict[str, Any]:
    """Thick-restart Lanczos on half-precision vectors; the products that check the residuals count."""
    pairs = largest_eigenpairs(
        operator,
        COUNT,
        by="magnitude",
        tolerance=TOLERANCE,
        budget_gb=VECTORS * operator.dimension * 2 / 1e9,
        storage=torch.float16,
        max_products=max_products,
    )
    return operator.finished() | {
        "values": pairs.values.tolist(),
        "residuals": (pairs.residuals / pairs.values.abs()).tolist(),
        "vectors": len(pairs.vectors.rows),
        "basis_gigabytes": pairs.vectors.rows.nbytes / 1e9,
    }


def arpack(operator: Counted, max_products: int) -> dict[str, Any]:
    """Implicitly restarted Lanczos with as many vectors, in float32."""
    size = operator.dimension
    multiplied = LinearOperator(
        (size, size),
        matvec=lambda vector: operator.product(torch.from_numpy(vector.ravel().copy())).numpy(),
        dtype=np.float32,
    )
    start = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    restarts = max(max_products // (VECTORS - COUNT), 1)
    try:
        values, vectors = eigsh(multiplied, COUNT, which="LM", ncv=VECTORS, tol=TOLERANCE, maxiter=restarts, v0=start)
    except ArpackNoConvergence as stopped:
        values, vectors = stopped.eigenvalues, stopped.eigenvectors
    counted = operator.finished()
    order = np.argsort(-np.abs(values))
    columns = [torch.from_numpy(vectors[:, place].copy()) for place in order]
    return counted | {
        "values": values[order].tolist(),
        "residuals": operator.residuals(values[order].tolist(), columns),
        "vectors": VECTORS,
        "basis_gigabytes": VECTORS * size * 4 / 1e9,
    }


def eigenthings(operator: Counted, max_products: int) -> dict[str, Any]:
    """Lanczos without restarts, told the fewest steps whose estimated residuals all keep the tolerance.

    They are found by a run of its kernel that does not count: a user would have to guess them.
    """
    from hessian_eigenthings.algorithms.lanczos import lanczos, lanczos_tridiagonal
    from hessian_eigenthings.operators.base import LambdaOperator

    multiplied = LambdaOperator(operator.product, operator.dimension)
    start = torch.randn(operator.dimension, generator=torch.Generator().manual_seed(0))
    steps = _steps_needed(lanczos_tridiagonal(multiplied, start, min(MOST_KEPT, max_products)))
    operator.begin()
    found = lanczos(multiplied, k=COUNT, max_iter=steps, tol=TOLERANCE, reorthogonalize=True, seed=0)
    return operator.finished() | {
        "values": found.eigenvalues.tolist(),
        "residuals": operator.residuals(found.eigenvalues.tolist(), list(found.eigenvectors)),
        "vectors": steps,
        "basis_gigabytes": steps * operator.dimension * 4 / 1e9,
    }


def _steps_needed(run: Any) -> int:
    diagonal, beside = run.alphas.double(), torch.cat([run.betas.double(), torch.tensor([run.last_beta])])
    for steps in range(COUNT, run.iterations):
        off = beside[: steps - 1]
        values, coordinates = torch.linalg.eigh(torch.diag(diagonal[:steps]) + torch.diag(off, 1) + torch.diag(off, -1))
        chosen = torch.argsort(values.abs(), descending=True)[:COUNT]
        if (beside[steps - 1] * coordinates[-1, chosen].abs() <= TOLERANCE * values[chosen].abs()).all():
            return steps
    return run.iterations


def one(name: str, part: str, folder: Path, tokens: int, max_products: int, threads: int) -> dict[str, Any]:
    """Run a contender in this process."""
    torch.set_num_threads(threads)
    model, batch = model_and_batch(folder / "mixture", tokens, "float32")
    parameters = choose_trainable(model, PARAMETERS[part])
    terms = answer_loss_terms(model, [batch], "cross-entropy")
    operator = Counted(HessianOperator(parameters, terms, graph_bytes=GRAPH_BYTES))
    reset_peak_memory()
    run = {"ours": ours, "arpack": arpack, "hessian-eigenthings": eigenthings}[name]
    found = run(operator, max_products)
    values, residuals = found.pop("values"), found.pop("residuals")
    return {
        "batch": described(batch),
        "parameters": operator.dimension,
        **found,
        "basis_gigabytes": round(found["basis_gigabytes"], 3),
        "peak_gigabytes": round(peak_memory() / 1e9, 2),
        "converged": sum(residual <= TOLERANCE for residual in residuals),
        "worst_relative_residual": float(f"{max(residuals, default=float('inf')):.2g}"),
        "eigenvalues": [round(value, 3) for value in values],
    }


def compare(part_names: list[str], full: bool, tokens: int, max_products: int, threads: int) -> dict[str, Any]:
    """Every contender that is installed, one after the other."""
    installed = [name for name in CONTENDERS if name != "hessian-eigenthings" or find_spec("hessian_eigenthings")]
    result: dict[str, Any] = {"count": COUNT, "tolerance": TOLERANCE, "threads": threads, "not_run": []}
    with tempfile.TemporaryDirectory() as place:
        freeze_examples(Path(place) / "mixture")
        for part in part_names:
            result[part] = {}
            for name in CONTENDERS:
                if name not in installed or (part == "all" and name != "ours" and not full):
                    result["not_run"].append(f"{name} on {part}")
                    continue
                command = [sys.executable, "-m", "benchmarks.curvature_eigenpairs", "--one", name, part, place]
                options = ["--tokens", str(tokens), "--max-products", str(max_products), "--threads", str(threads)]
                done = subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True, check=True)
                measured = json.loads(done.stdout.splitlines()[-1])
                result["batch"] = measured.pop("batch")
                result[part][name] = measured
    return result


def main() -> None:
    """Compare, or run one contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", nargs="+", choices=PARAMETERS, default=list(PARAMETERS))
    parser.add_argument("--full", action="store_true", help="all contenders on all parameters: 32 GB of memory")
    parser.add_argument("--tokens", type=int, default=502)
    parser.add_argument("--max-products", type=int, default=300)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--one", nargs=3, metavar=("CONTENDER", "PARAMETERS", "FOLDER"))
    arguments = parser.parse_args()
    options = (arguments.tokens, arguments.max_products, arguments.threads)
    if arguments.one is None:
        record("curvature_eigenpairs", compare(arguments.parameters, arguments.full, *options))
        return
    name, part, folder = arguments.one
    sys.stdout.write("\n" + json.dumps(one(name, part, Path(folder), *options)) + "\n")


if __name__ == "__main__":
    main()
