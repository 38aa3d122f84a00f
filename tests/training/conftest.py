from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.model.embedded import write_tiny_llama
from training.model.load import load_model, load_tokenizer


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama over bytes; read only."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    write_tiny_llama(folder)
    return folder


@pytest.fixture(scope="session")
def load_tiny(tiny_folder: Path) -> Callable[[str], PreTrainedModel]:
    """A fresh tiny model in the given precision, every parameter trainable."""
    return lambda precision="float64": load_model(tiny_folder, precision, torch.device("cpu"))


@pytest.fixture(scope="session")
def tokenizer(tiny_folder: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_folder)
