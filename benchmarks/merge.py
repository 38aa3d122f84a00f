"""The streaming merge against mergekit, fusion_bench, loading with safetensors, and the floor of reading and writing.

Four synthetic checkpoints with the shapes of SmolLM2-135M are merged with weights .4/.3/.2/.1, each contender in a
process of its own, in turn for several rounds. The floor reads every input and copies one. Memory is the peak of
anonymous pages.

    make peers && .venv-peers/bin/python -m benchmarks.merge
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.record import record

WEIGHTS = (0.4, 0.3, 0.2, 0.1)
DTYPES = ("float32", "bfloat16")


def write_checkpoints(folder: Path, dtype: str) -> list[Path]:
    """Four model folders: the real start and three displaced by what tuning moves weights."""
    import torch
    from transformers import AutoModelForCausalLM

    from training.model.embedded import embedded_model

    base = embedded_model("smollm2-135m")
    paths = []
    for number in range(len(WEIGHTS)):
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=1e-3)
        path = folder / f"{dtype}-{number}"
        model.to(getattr(torch, dtype)).save_pretrained(path)
        paths.append(path)
    return paths


def streaming(inputs: list[Path], out: Path, dtype: str) -> float | None:
    """Ours; hashing of inputs and output, which no other contender does, is reported apart."""
    from training.merge.folders import merge_folders

    report = merge_folders("linear", inputs, WEIGHTS, out)
    return report.hashing_seconds


def floor(inputs: list[Path], out: Path, dtype: str) -> None:
    """Read all inputs once and write one of them."""
    buffer = bytearray(2**22)
    out.mkdir()
    for path in inputs:
        with open(path / "model.safetensors", "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    shutil.copyfile(inputs[0] / "model.safetensors", out / "model.safetensors")


def load_and_average(inputs: list[Path], out: Path, dtype: str) -> None:
    """The load_file of safetensors for each, and a running sum in fp32."""
    import torch
    from safetensors.torch import load_file, save_file

    total: dict[str, torch.Tensor] = {}
    for weight, path in zip(WEIGHTS, inputs, strict=True):
        for name, tensor in load_file(path / "model.safetensors").items():
            part = tensor.float() * weight
            total[name] = part if name not in total else total[name].add_(part)
    out.mkdir()
    save_file({name: tensor.to(getattr(torch, dtype)) for name, tensor in total.items()}, out / "model.safetensors")


def mergekit(inputs: list[Path], out: Path, dtype: str) -> None:
    """The linear method of mergekit."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    models = [
        {"model": str(path), "parameters": {"weight": weight}} for path, weight in zip(inputs, WEIGHTS, strict=True)
    ]
    configuration = MergeConfiguration.model_validate({"models": models, "merge_method": "linear", "dtype": dtype})
    run_merge(configuration, str(out), MergeOptions(copy_tokenizer=False, lazy_unpickle=True))


def fusion_bench(inputs: list[Path], out: Path, dtype: str) -> None:
    """fusion_bench's weighted average of loaded models."""
    import torch
    from fusion_bench.method import WeightedAverageAlgorithm
    from fusion_bench.modelpool import BaseModelPool
    from transformers import AutoModelForCausalLM

    models = {
        str(number): AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype))
        for number, path in enumerate(inputs)
    }
    merged = WeightedAverageAlgorithm(normalize=True, weights=list(WEIGHTS)).run(BaseModelPool(models))
    merged.save_pretrained(out)


CONTENDERS: dict[str, Callable[[list[Path], Path, str], float | None]] = {
    "floor": floor,
    "ours": streaming,
    "load_file": load_and_average,
    "mergekit": mergekit,
    "fusion_bench": fusion_bench,
}


class PeakAnonymousMemory(threading.Thread):
    """Samples the anonymous resident pages of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._stopped = threading.Event()
        self.baseline = self.peak = self._now()

    @staticmethod
    def _now() -> int:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("RssAnon:")).split()[1])

    def run(self) -> None:
        """Sample until stopped."""
        while not self._stopped.wait(0.005):
            self.peak = max(self.peak, self._now())

    def stop(self) -> int:
        """Bytes above what was resident before."""
        self._stopped.set()
        self.join()
        return self.peak - self.baseline


def one(contender: str, inputs: list[Path], out: Path, dtype: str) -> dict[str, Any]:
    """Run a contender in this process; imports count as neither time nor memory of the merge."""
    modules = {"ours": ["training.merge.folders"], "load_file": ["safetensors.torch"], "mergekit": ["mergekit.merge"]}
    modules["fusion_bench"] = ["fusion_bench.method", "fusion_bench.modelpool", "transformers"]
    for module in modules.get(contender, []):
        __import__(module)
    if contender == "fusion_bench":  # its modules are lazy: only an attribute's use imports what it stands for
        from fusion_bench.method import WeightedAverageAlgorithm
        from fusion_bench.modelpool import BaseModelPool
        from transformers import AutoModelForCausalLM, LlamaForCausalLM

        assert all((WeightedAverageAlgorithm, BaseModelPool, AutoModelForCausalLM, LlamaForCausalLM))
    memory = PeakAnonymousMemory()
    memory.start()
    began = time.perf_counter()
    apart = CONTENDERS[contender](inputs, out, dtype) or 0.0
    seconds = time.perf_counter() - began
    return {"seconds": seconds - apart, "hashing_seconds": apart, "anonymous_bytes": memory.stop()}


def rms_errors(inputs: list[Path], merged: Path, dtype: str) -> float:
    """RMS error against the float64 average, relative to that of rounding it correctly to the dtype."""
    import torch
    from safetensors import safe_open

    files = [safe_open(path / "model.safetensors", framework="pt") for path in inputs]
    result = safe_open(merged / "model.safetensors", framework="pt")
    ours = correct = 0.0
    for name in sorted(result.keys()):
        exact = sum(weight * file.get_tensor(name).double() for weight, file in zip(WEIGHTS, files, strict=True))
        assert isinstance(exact, torch.Tensor)
        correct += (exact.to(getattr(torch, dtype)).double() - exact).square().sum().item()
        ours += (result.get_tensor(name).double() - exact).square().sum().item()
    return float(np.sqrt(ours / correct))


def compare(rounds: int) -> dict[str, Any]:
    """All contenders that are installed, in turn."""
    names = [name for name in CONTENDERS if name in ("floor", "ours", "load_file") or find_spec(name)]
    result: dict[str, Any] = {"rounds": rounds, "missing": [name for name in CONTENDERS if name not in names]}
    for dtype in DTYPES:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            inputs = write_checkpoints(folder, dtype)
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            errors: dict[str, float] = {}
            for number in range(rounds + 1):
                for name in names:
                    out = folder / "out"
                    shutil.rmtree(out, ignore_errors=True)
                    arguments = [name, dtype, str(out), *map(str, inputs)]
                    command = [sys.executable, "-m", "benchmarks.merge", "--one", *arguments]
                    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
                    if number == 0:  # the first round warms the page cache and is checked instead of timed
                        errors[name] = 0.0 if name == "floor" else rms_errors(inputs, out, dtype)
                    else:
                        runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            floor_seconds = [run["seconds"] for run in runs["floor"]]
            result[dtype] = {
                name: {
                    "seconds": round(median(run["seconds"] for run in mine), 3),
                    "times_floor": round(
                        median(run["seconds"] / floor for run, floor in zip(mine, floor_seconds, strict=True)), 2
                    ),
                    "hashing_seconds": round(median(run["hashing_seconds"] for run in mine), 3),
                    "anonymous_megabytes": round(max(run["anonymous_bytes"] for run in mine) / 1e6, 1),
                    "error_over_correct_rounding": round(errors[name], 4) if errors[name] else None,
                }
                for name, mine in runs.items()
            }
    return result


def main() -> None:
    """Compare, or run one contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs="+", metavar="ARGUMENT", help="contender, dtype, output and inputs")
    arguments = parser.parse_args()
    if arguments.one is None:
        record("merge", compare(arguments.rounds))
        return
    name, dtype, out, *inputs = arguments.one
    sys.stdout.write("\n" + json.dumps(one(name, [Path(path) for path in inputs], Path(out), dtype)) + "\n")


if __name__ == "__main__":
    main()
