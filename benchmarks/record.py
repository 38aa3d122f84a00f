"""Results of benchmarks: one JSON line on the terminal, and the same kept with machine, versions and command."""

import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from training.environment import describe_environment
from training.run_directory import write_json

RESULTS = Path(__file__).parent / "results"
BESIDE = ("accelerate", "trl", "mergekit", "fusion-bench", "jax", "jaxlib")


def record(name: str, result: dict[str, Any]) -> None:
    """Print ``result`` and keep it as ``benchmarks/results/NAME.json``."""
    environment = describe_environment()
    environment["packages"] |= {peer: version(peer) for peer in BESIDE if find_spec(peer.replace("-", "_"))}
    environment["command"] = ["python", *(argument.replace(f"{Path.cwd()}/", "") for argument in sys.argv)]
    write_json(RESULTS / f"{name}.json", {"result": result, "environment": environment})
    sys.stdout.write(json.dumps(result) + "\n")
