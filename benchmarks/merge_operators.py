"""Merge operators beside mergekit's and fusion_bench's: wall time, memory, and how far the merged weights differ.

Four synthetic branches with the shapes of SmolLM2-135M, or those of a run's arm, are merged by every operator with its
default settings. Each contender runs in a process of its own, on the same cores, files in the cache; all in turn for
several rounds, one round for operators that decompose matrices. The floor reads what the operator reads and copies one
model. Memory is the peak of anonymous pages.

Differences between merged weights are the largest, to be read beside the largest between ours and the start, and the
share that is beyond a thousandth of that: of equal entries mergekit's TIES keeps others. Masks of DARE are drawn at
random, so its merges are not compared.

Models of mergekit and fusion_bench are loaded and saved by them. Where fusion_bench's own loop would merge a tied
embedding twice (TIES, TSV-M, Iso-C, Iso-CTS), its functions are called on the tensors of the files, each once.

    make peers && .venv-peers/bin/python -m benchmarks.merge_operators
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.merge import PeakAnonymousMemory
from benchmarks.record import record
from training.environment import usable_cores
from training.run_directory import BranchDirectory, RunDirectory, read_json

MERGEKIT, FUSION_BENCH = "mergekit", "fusion_bench"
PEERS: dict[str, tuple[str, ...]] = {
    "linear": (MERGEKIT, FUSION_BENCH),
    "task-arithmetic": (MERGEKIT, FUSION_BENCH),
    "ties": (FUSION_BENCH,),
    "ties-mergekit": (MERGEKIT,),
    "dare": (MERGEKIT, FUSION_BENCH),
    "dare-ties": (MERGEKIT,),
    "slerp": (MERGEKIT, FUSION_BENCH),
    "model-stock": (MERGEKIT, FUSION_BENCH),
    "tsv-m": (FUSION_BENCH,),
    "iso-c": (FUSION_BENCH,),
    "iso-cts": (FUSION_BENCH,),
    "star": (),
    "ota": (),
    "ffg": (),
}
"""Who else has each operator."""
WEIGHTED = {"linear", "ties-mergekit", "slerp"}
RANDOM = {"dare", "dare-ties"}
DECOMPOSING = {"tsv-m", "iso-c", "iso-cts", "star"}
MODULES = {
    "ours": ["training.merge.folders"],
    MERGEKIT: ["mergekit.merge", "training.merge.mergekit_recipe", "training.merge.registry"],
    FUSION_BENCH: [
        "fusion_bench.modelpool",
        "fusion_bench.method.dare",
        "fusion_bench.method.isotropic_merging.iso_utils",
        "fusion_bench.method.model_stock",
        "fusion_bench.method.slerp",
        "fusion_bench.method.task_arithmetic",
        "fusion_bench.method.task_singular_vector.utils.TSVM_utils",
        "fusion_bench.method.ties_merging.ties_merging_utils",
        "fusion_bench.method.weighted_average",
        "safetensors.torch",
        "transformers.models.llama.modeling_llama",
    ],
}
"""What is imported before the clock starts; fusion_bench and transformers would load some of it on first use."""


def write_branches(folder: Path, small: bool) -> None:
    """A start and four branches displaced by what tuning moves weights, with second moments beside them."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    from training.model.embedded import embedded_model

    if small:
        torch.manual_seed(0)
        sizes = {"hidden_size": 192, "intermediate_size": 512, "num_attention_heads": 3, "num_key_value_heads": 1}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=4000, num_hidden_layers=4, tie_word_embeddings=True, **sizes))
    else:
        model = AutoModelForCausalLM.from_pretrained(embedded_model("smollm2-135m"), dtype=torch.float32)
    model.save_pretrained(folder / "start")
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for number in range(4):
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(start[name] + 1e-3 * torch.randn(parameter.shape, generator=generator))
        branch = BranchDirectory(folder / f"branch-{number}")
        model.save_pretrained(branch.model)
        moments = {name: (1e-4 * torch.randn(value.shape, generator=generator)) ** 2 for name, value in start.items()}
        save_file(moments, branch.second_moments)


def copy_branches(folder: Path, run: Path, arm: str) -> None:
    """The start and an arm's branches of a run, with what second moments there are."""
    paths = RunDirectory(run)
    shutil.copytree(paths.start, folder / "start")
    for number, name in enumerate(read_json(paths.arm(arm) / "arm.json")["branches"]):
        source, target = BranchDirectory(paths.branch(name)), BranchDirectory(folder / f"branch-{number}")
        shutil.copytree(source.model, target.model)
        if source.second_moments.exists():
            shutil.copyfile(source.second_moments, target.second_moments)


def inputs_of(operator: str, folder: Path) -> tuple[list[Path], list[float] | None]:
    """Branches that the operator merges, and their weights if it is given any: .4, .3, .2, .1 for four."""
    branches = [path / "model" for path in sorted(folder.glob("branch-*"))]
    if operator == "slerp":
        branches = branches[:2]
    count = len(branches)
    weights = [2 * (count - number) / (count * (count + 1)) for number in range(count)]
    return branches, weights if operator in WEIGHTED else None


def ours(operator: str, folder: Path, out: Path) -> float:
    """Returns the seconds of hashing inputs and output, which no other contender does."""
    from training.merge.folders import merge_folders

    branches, weights = inputs_of(operator, folder)
    return merge_folders(operator, branches, weights, out, start=folder / "start").hashing_seconds


def floor(operator: str, folder: Path, out: Path) -> None:
    """Read all inputs once and write one of them."""
    from training.merge.registry import OPERATORS

    branches, _ = inputs_of(operator, folder)
    files = [path / "model.safetensors" for path in branches]
    if OPERATORS[operator].needs_start:
        files.append(folder / "start" / "model.safetensors")
    if OPERATORS[operator].needs_second_moments:
        files += [BranchDirectory(path.parent).second_moments for path in branches]
    buffer = bytearray(2**22)
    for path in files:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    out.mkdir()
    shutil.copyfile(files[0], out / "model.safetensors")


def mergekit(operator: str, folder: Path, out: Path) -> None:
    """mergekit, told by the recipe that ``python -m training merge --mergekit`` writes."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    from training.merge.mergekit_recipe import mergekit_recipe
    from training.merge.registry import make_operator

    branches, weights = inputs_of(operator, folder)
    recipe = mergekit_recipe(make_operator(operator, {}), branches, weights, folder / "start", branches[0])
    configuration = MergeConfiguration.model_validate(yaml.safe_load(recipe))
    run_merge(configuration, str(out), MergeOptions(copy_tokenizer=False, lazy_unpickle=True, quiet=True))


def fusion_bench(operator: str, folder: Path, out: Path) -> None:
    """fusion_bench, by its algorithms on loaded models or its functions on tensors."""
    if operator in ("ties", "tsv-m", "iso-c", "iso-cts"):
        return fusion_bench_on_tensors(operator, folder, out)
    import torch
    from fusion_bench import method
    from fusion_bench.modelpool import BaseModelPool
    from transformers import AutoModelForCausalLM

    branches, weights = inputs_of(operator, folder)
    algorithm = {
        "linear": lambda: method.WeightedAverageAlgorithm(normalize=True, weights=weights),
        "task-arithmetic": lambda: method.TaskArithmeticAlgorithm(scaling_factor=1.0),
        "dare": lambda: method.DareTaskArithmetic(
            scaling_factor=1 / len(branches), sparsity_ratio=0.1, only_on_linear_weights=False
        ),
        "slerp": lambda: method.SlerpMergeAlgorithm(t=weights[1]),
        "model-stock": lambda: method.ModelStock(),
    }[operator]()
    paths = {f"branch-{number}": path for number, path in enumerate(branches)}
    if operator not in ("linear", "slerp"):
        paths["_pretrained_"] = folder / "start"
    models = {
        name: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).requires_grad_(operator == "dare")
        for name, path in paths.items()
    }
    algorithm.run(BaseModelPool(models)).save_pretrained(out)
    return None


def fusion_bench_on_tensors(operator: str, folder: Path, out: Path) -> None:
    """Functions of fusion_bench that merge displacements, and the start added."""
    import torch
    from fusion_bench.method.isotropic_merging.iso_utils import iso_c, iso_cts
    from fusion_bench.method.task_singular_vector.utils.TSVM_utils import compute_and_sum_svd_mem_reduction
    from fusion_bench.method.ties_merging.ties_merging_utils import ties_merging
    from safetensors.torch import load_file, save_file

    start = load_file(folder / "start" / "model.safetensors")
    displacements = [
        {name: tensor - start[name] for name, tensor in load_file(path / "model.safetensors").items()}
        for path in inputs_of(operator, folder)[0]
    ]
    if operator == "ties":
        flat = torch.stack([torch.cat([own[name].reshape(-1) for name in start]) for own in displacements])
        parts = ties_merging(flat, reset_thresh=0.2, merge_func="mean").split(
            [value.numel() for value in start.values()]
        )
        merged = {name: part.view_as(start[name]) for name, part in zip(start, parts, strict=True)}
    elif operator == "tsv-m":
        merged = compute_and_sum_svd_mem_reduction(displacements, accelerator=torch.device("cpu"))
    elif operator == "iso-c":
        merged = iso_c(displacements, accelerator="cpu")
    else:
        merged = iso_cts(displacements, 0.8, accelerator="cpu")
    out.mkdir()
    save_file({name: (start[name] + merged[name]).contiguous() for name in start}, out / "model.safetensors")


CONTENDERS: dict[str, Callable[[str, Path, Path], float | None]] = {
    "floor": floor,
    "ours": ours,
    MERGEKIT: mergekit,
    FUSION_BENCH: fusion_bench,
}


def one(operator: str, contender: str, folder: Path) -> dict[str, Any]:
    """Run a contender in this process; imports count as neither time nor memory of the merge."""
    for module in MODULES.get(contender, ["training.merge.registry"]):
        __import__(module)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(usable_cores())
    out = folder / contender
    shutil.rmtree(out, ignore_errors=True)
    memory = PeakAnonymousMemory()
    memory.start()
    began = time.perf_counter()
    apart = CONTENDERS[contender](operator, folder, out) or 0.0
    seconds = time.perf_counter() - began
    return {"seconds": seconds - apart, "hashing_seconds": apart, "anonymous_bytes": memory.stop()}


def in_a_process(operator: str, contender: str, folder: Path) -> dict[str, Any]:
    """What :func:`one` measures in a process of its own, on as many threads as there are cores."""
    command = [sys.executable, "-m", "benchmarks.merge_operators", "--one", operator, contender, str(folder)]
    threads = {f"{library}_NUM_THREADS": str(usable_cores()) for library in ("OMP", "MKL", "OPENBLAS")}
    quiet = {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **threads, **quiet}
    )
    return json.loads(done.stdout.splitlines()[-1])


def differences(model: Path, other: Path, beyond: float = 0.0) -> tuple[float, float]:
    """The largest over all weights that both files hold, and the share of those that differ by more than ``beyond``."""
    from safetensors import safe_open

    largest, count, total = 0.0, 0, 0
    with safe_open(model, framework="pt") as first, safe_open(other, framework="pt") as second:
        for name in set(first.keys()) & set(second.keys()):
            difference = (first.get_tensor(name) - second.get_tensor(name)).abs()
            largest = max(largest, difference.max().item())
            count += int((difference > beyond).sum())
            total += difference.numel()
    return largest, count / total


def measure(operator: str, contenders: list[str], folder: Path, rounds: int) -> dict[str, Any]:
    """One operator by all contenders that have it, in turn."""
    rounds = 1 if operator in DECOMPOSING else rounds
    names = ["floor", *(name for name in contenders if name == "ours" or name in PEERS[operator])]
    in_a_process(operator, "floor", folder)  # fills the cache
    runs = [{name: in_a_process(operator, name, folder) for name in names} for _ in range(rounds)]
    weights = {name: folder / name / "model.safetensors" for name in names}
    result: dict[str, Any] = {
        "rounds": rounds,
        "contenders": {
            name: {
                "seconds": round(median(run[name]["seconds"] for run in runs), 3),
                "times_floor": round(median(run[name]["seconds"] / run["floor"]["seconds"] for run in runs), 2),
                "hashing_seconds": round(median(run[name]["hashing_seconds"] for run in runs), 3),
                "anonymous_megabytes": round(max(run[name]["anonymous_bytes"] for run in runs) / 1e6, 1),
            }
            for name in names
        },
    }
    if "ours" in names:
        moved, _ = differences(weights["ours"], folder / "start" / "model.safetensors")
        result["largest_difference_from_start"] = float(f"{moved:.3g}")
        for name in set(names) - {"floor", "ours"} if operator not in RANDOM else ():
            largest, share = differences(weights["ours"], weights[name], moved / 1000)
            result["contenders"][name]["largest_difference"] = float(f"{largest:.3g}")
            result["contenders"][name]["share_beyond_a_thousandth"] = float(f"{share:.3g}")
    return result


HEADER = f"{'operator':<16} {'contender':<13} {'seconds':>8} {'x floor':>8} {'MB':>8}  difference (from start)"


def rows(operator: str, result: dict[str, Any]) -> str:
    """The result of one operator for people, under :data:`HEADER`."""
    lines = []
    for name, values in result["contenders"].items():
        beside = f"({result['largest_difference_from_start']})" if name == "ours" else ""
        if "largest_difference" in values:
            beside = f"{values['largest_difference']}, {values['share_beyond_a_thousandth']:.1%} beyond 1/1000"
        measured = f"{values['seconds']:>8.2f} {values['times_floor']:>8.2f} {values['anonymous_megabytes']:>8.1f}"
        lines.append(f"{operator:<16} {name:<13} {measured}  {beside}".rstrip())
    return "\n".join(lines)


def main() -> None:
    """Compare, or run one contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operators", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--contenders", nargs="+", choices=["ours", MERGEKIT, FUSION_BENCH], help="all if left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="cores that every process is kept on")
    parser.add_argument("--small", action="store_true", help="4 layers of hidden size 192 instead of 135M")
    parser.add_argument("--run", type=Path, help="run directory whose branches are merged; with --arm")
    parser.add_argument("--arm", help="arm whose branches are merged")
    parser.add_argument("--one", nargs=3, metavar=("OPERATOR", "CONTENDER", "FOLDER"))
    arguments = parser.parse_args()
    if arguments.one is not None:
        operator, contender, folder = arguments.one
        sys.stdout.write("\n" + json.dumps(one(operator, contender, Path(folder))) + "\n")
        return
    if (arguments.run is None) != (arguments.arm is None):
        parser.error("--run and --arm go together")
    wanted = arguments.contenders or ["ours", MERGEKIT, FUSION_BENCH]
    contenders = [name for name in wanted if name == "ours" or find_spec(name)]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])  # inherited by every process
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if arguments.run is None:
            write_branches(folder, arguments.small)
        else:
            copy_branches(folder, arguments.run, arguments.arm)
        result: dict[str, Any] = {
            "threads": usable_cores(),
            "branches": len(list(folder.glob("branch-*"))),
            "model": "small" if arguments.small else "SmolLM2-135M" if arguments.run is None else arguments.arm,
            "missing": [name for name in wanted if name not in contenders],
            "operators": {},
        }
        sys.stdout.write(HEADER + "\n")
        for name in arguments.operators:
            result["operators"][name] = measure(name, contenders, folder, arguments.rounds)
            sys.stdout.write(rows(name, result["operators"][name]) + "\n")
            sys.stdout.flush()
    record("merge_operators", result)


if __name__ == "__main__":
    main()
