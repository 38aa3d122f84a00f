"""The model a run starts from: find it, load it from safetensors, choose what is trained, save it."""

import contextlib
import fnmatch
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch.nn import Embedding, ModuleList, Parameter
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from training.config import Precision
from training.errors import InputError
from training.full_disk import is_disk_full
from training.model.embedded import EMBEDDED, embedded_model
from training.run_directory import file_hash, link_or_copy, replacing_folder

COMPANIONS = ("*.json", "*.jinja", "*.model", "*.txt")
NOT_COMPANIONS = ("*.index.json", "provenance.json")


def quieten_transformers() -> None:
    """Keep the progress bars and notices of transformers off a terminal that shows our own."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def find_model(name: str) -> Path:
    """The local folder of a model: embedded by name, a folder, or a hub id (downloaded to the hub's own cache).

    Raises:
        InputError: nothing of that name, or no safetensors weights in it.
    """
    if name in EMBEDDED:
        return embedded_model(name)
    folder = Path(name)
    if not folder.is_dir():
        folder = _download(name)
    if not (folder / "config.json").is_file():
        raise InputError(f"model {name}: no config.json in {folder}; save it there with save_pretrained")
    if not any(folder.glob("*.safetensors")):
        raise InputError(
            f"model {name}: no .safetensors weights; convert it with save_pretrained (pickles are not read)"
        )
    return folder


def _download(name: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", *COMPANIONS]))
    except Exception as error:  # the hub client raises a dozen types; each means that the model is not to be had
        if is_disk_full(error):
            raise
        known = ", ".join(EMBEDDED)
        raise InputError(
            f"model {name!r} is no local folder, not embedded ({known}) and not on the hub: {_reason(error)}; "
            "correct start.model"
        ) from None


def _reason(error: Exception) -> str:
    """The first line of what a library says, which may be nothing at all."""
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__


def place_model(source: Path, target: Path) -> None:
    """Make ``target`` a model folder with the weights and companions of ``source``, linked where possible.

    Nothing happens where the same files stand already.
    """
    files = [
        file
        for file in sorted(source.iterdir())
        if file.is_file() and any(fnmatch.fnmatch(file.name, glob) for glob in ("*.safetensors", *COMPANIONS))
    ]
    if target.is_dir() and {path.name for path in target.iterdir()} == {file.name for file in files}:
        pairs = [(file, target / file.name) for file in files]
        if all(file.samefile(placed) or file_hash(file) == file_hash(placed) for file, placed in pairs):
            return
    with replacing_folder(target) as folder:
        for file in files:
            link_or_copy(file, folder / file.name)


def weight_dtype(precision: str) -> torch.dtype:
    """Dtype of weights and optimiser state; autocast changes neither."""
    return torch.float64 if precision == "float64" else torch.float32


def resolve_precision(precision: Literal["auto"] | Precision, device: torch.device) -> Precision:
    """Turn ``auto`` into bf16 autocast where the device computes in bf16, else float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16-autocast" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bf16-autocast" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context of every forward pass."""
    if precision != "bf16-autocast":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def load_model(folder: Path, precision: str, device: torch.device) -> PreTrainedModel:
    """Load a causal language model in evaluation mode, from safetensors only and without remote code.

    Raises:
        InputError: the folder does not hold a loadable causal language model.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=weight_dtype(precision), use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # damaged files surface as many types; each means that this folder cannot be used
        raise InputError(f"model folder {folder} cannot be loaded: {_reason(error)}; save or copy it again") from None
    _let_every_token_learn(model)
    return model.to(device).eval()


def _let_every_token_learn(model: PreTrainedModel) -> None:
    """Give the padding token's embedding its gradient: chat models use that token to end turns, which carry loss.

    PyTorch leaves the rows of padding out of the gradient, and what backward gives is then not the loss's derivative.
    Our batches hold no padding that a real position could see.
    """
    embeddings = model.get_input_embeddings()
    if isinstance(embeddings, Embedding):
        embeddings.padding_idx = None


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder.

    Raises:
        InputError: there is none.
    """
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # as in load_model
        raise InputError(
            f"model folder {folder} has no usable tokenizer: {_reason(error)}; save or copy it again"
        ) from None


def load_config(folder: Path) -> PreTrainedConfig:
    """The configuration of a model folder.

    Raises:
        InputError: there is none that can be read.
    """
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # as in load_model
        raise InputError(
            f"model folder {folder} has no usable config.json: {_reason(error)}; save or copy it again"
        ) from None


def check_readable(folder: Path) -> None:
    """Read configuration, tokenizer and the headers of the weights: damage is told before the folder is used.

    Raises:
        InputError: one of them is missing or damaged.
    """
    load_config(folder)
    load_tokenizer(folder)
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except Exception as error:  # as in load_model
            raise InputError(
                f"model folder {folder} cannot be loaded: {_reason(error)}; save or copy it again"
            ) from None


def context_length(config: PreTrainedConfig, limit: int | None) -> int:
    """Longest example in tokens: the model's context, or ``limit`` if that is shorter."""
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    return min(length for length in (context, limit, 2**31) if length is not None)


def choose_trainable(
    model: PreTrainedModel, patterns: Sequence[str], setting: str = "start.trainable"
) -> dict[str, Parameter]:
    """Freeze everything but the parameters whose names match a pattern, and return those by name.

    Nothing below the lowest of them then enters a graph, which makes gradients and curvature of a last block cheap.

    Args:
        model: whose parameters.
        patterns: shell-style.
        setting: what errors call the patterns.

    Raises:
        InputError: a pattern matches nothing.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        if not fnmatch.filter(parameters, pattern):
            raise InputError(f"{setting}: {pattern!r} matches no parameter; names look like {next(iter(parameters))!r}")
    for name, parameter in parameters.items():
        parameter.requires_grad_(any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))
    return {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Recompute activations in the backward pass instead of keeping them."""
    # transformers renamed this and drops the older name in version 6.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def compile_layers(model: PreTrainedModel) -> None:
    """Let torch.compile fuse each of the model's layers; they share one graph, for micro-batches of any size.

    Layers and not the model: the output head, which is applied at answer positions alone, and the layout of packed
    rows stay outside, so that a micro-batch never compiles anything anew.
    """
    stacks = [module for module in model.modules() if isinstance(module, ModuleList)]
    for layer in max(stacks, key=len, default=[]):
        layer.compile(dynamic=True)


def save_model(model: PreTrainedModel, companions: Path, folder: Path) -> None:
    """Write weights and configuration to ``folder``; tokenizer and template come from the folder ``companions``."""
    with replacing_folder(folder) as temporary:
        model.save_pretrained(temporary)
        for pattern in COMPANIONS:
            for file in companions.glob(pattern):
                skipped = any(file.match(other) for other in NOT_COMPANIONS)
                if not skipped and not (temporary / file.name).exists():
                    shutil.copyfile(file, temporary / file.name)
