"""A tiny language model of which only the output head was trained: with squared error its loss is exactly quadratic."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from diagnostics.bench import Bench
from diagnostics.checkpoints import Checkpoints
from diagnostics.probe import Probe
from diagnostics.settings import DiagnosticSettings
from training.model.batching import Example, micro_batches
from training.model.network import Network
from training.run_directory import ReportDirectory

HEAD = "lm_head.weight"
VOCABULARY, HIDDEN, ITEMS, TASKS = 12, 8, 10, 2


def write_start(folder: Path) -> Path:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def stored(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def write_model(start: Path, folder: Path, changed: Mapping[str, Tensor]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes((start / "config.json").read_bytes())
    save_file({**stored(start), **changed}, folder / "model.safetensors", {"format": "pt"})
    return folder


def random_head(seed: int, size: float = 1.0) -> Tensor:
    return size * torch.randn(VOCABULARY, HIDDEN, generator=torch.Generator().manual_seed(seed))


def write_checkpoints(root: Path, heads: Mapping[str, Tensor]) -> Checkpoints:
    """Models that differ in their heads alone; the merged one is the mean of two branches unless it is given."""
    start = write_start(root / "start")
    own = stored(start)[HEAD]
    branches = [own + random_head(seed, 0.3) for seed in (1, 2)]
    heads = {"branch-1": branches[0], "branch-2": branches[1], "merged": (branches[0] + branches[1]) / 2, **heads}
    folders: dict[str, Any] = {name: write_model(start, root / name, {HEAD: head}) for name, head in heads.items()}
    return Checkpoints(
        start,
        (folders["branch-1"], folders["branch-2"]),
        (0.5, 0.5),
        folders["merged"],
        folders.get("joint"),
        folders.get("joint-equal-steps"),
    )


def examples() -> tuple[Example, ...]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(4, 9, ITEMS)
    return tuple(
        Example(tuple(rng.integers(3, VOCABULARY, n).tolist()), tuple(i >= n - 3 for i in range(n)), int(n - 3))
        for n in lengths
    )


def probe() -> Probe:
    items = examples()
    return Probe(
        tuple(f"task-{number}" for number in range(TASKS)),
        items,
        np.repeat(np.arange(TASKS), ITEMS // TASKS),
        np.array([item.answer_tokens for item in items]),
        tuple(micro_batches(items, 24)),
    )


def bench_of(
    checkpoints: Checkpoints,
    network: Network,
    settings: Mapping[str, Any],
    objective: str = "squared-error",
    trainable: tuple[str, ...] = (HEAD,),
) -> Bench:
    encoding: Any = None
    return Bench(
        checkpoints=checkpoints,
        network=network,
        tasks=(),
        encoding=encoding,
        probe=probe(),
        objective=objective,
        trainable=trainable,
        settings=DiagnosticSettings.model_validate({"bootstrap": 200, "probe": {"batch_tokens": 24}, **settings}),
        directory=ReportDirectory(checkpoints.start.parent / "report"),
    )


def network_of(checkpoints: Checkpoints, precision: str = "float64") -> Network:
    return Network(checkpoints.folders, precision, torch.device("cpu"))


@torch.no_grad()
def answers(network: Network) -> list[tuple[Tensor, Tensor]]:
    """Hidden states [answer tokens, hidden] that the head sees, and one-hot targets, of each item."""
    pairs = []
    for example in examples():
        ids = torch.tensor(example.ids)
        before = torch.tensor((*example.has_loss[1:], False))
        hidden = network.model.model(input_ids=ids[None]).last_hidden_state[0, before]
        targets = torch.nn.functional.one_hot(ids[torch.tensor(example.has_loss)], VOCABULARY)
        pairs.append((hidden.double(), targets.double()))
    return pairs


def head_losses(pairs: list[tuple[Tensor, Tensor]], head: Tensor) -> np.ndarray:
    """Squared error of a head, summed over each item's answer tokens."""
    return np.array([0.5 * (hidden @ head.double().T - targets).square().sum().item() for hidden, targets in pairs])
