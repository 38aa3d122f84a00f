"""Results of benchmarks: one JSON line on the terminal, and the same kept with machine, versions and command."""

import contextlib
import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from training.environment import describe_environment
from training.run_directory import write_json

RESULTS = Path(__file__).parent / "results"
BESIDE = (
    "accelerate",
    "trl",
    "mergekit",
    "fusion-bench",
    "curvlinops-for-pytorch",
    "hessian-eigenthings",
    "jax",
    "jaxlib",
)


def record(name: str, result: dict[str, Any]) -> None:
    """Print ``result`` and keep it as ``benchmarks/results/NAME.json``."""
    environment = describe_environment()
    for peer in BESIDE:
        with contextlib.suppress(PackageNotFoundError):
            environment["packages"][peer] = version(peer)
    environment["command"] = ["python", *(argument.replace(f"{Path.cwd()}/", "") for argument in sys.argv)]
    write_json(RESULTS / f"{name}.json", {"result": result, "environment": environment})
    sys.stdout.write(json.dumps(result) + "\n")
