"""Tied weights: an output head that is the embedding is one tensor, whether or not a folder stores it twice."""

from pathlib import Path

from training.errors import InputError
from training.merge.safetensors_file import StoredTensor
from training.run_directory import read_json

HEAD = "lm_head.weight"


def without_tied_head(folder: Path, tensors: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Drop a stored output head that ``config.json`` says is tied and that is some other tensor bit for bit.

    Without ``"tie_word_embeddings": true`` nothing is dropped: equal by chance or by initialisation is not tied.

    Raises:
        InputError: the head is said to be tied but differs, so that transformers would load the model untied.
    """
    if HEAD not in tensors or not _is_tied(folder / "config.json"):
        return tensors
    head = tensors[HEAD]
    rest = {name: tensor for name, tensor in tensors.items() if name != HEAD}
    alike = (other for other in rest.values() if (other.element, other.shape) == (head.element, head.shape))
    if not any(head.same_bits(other) for other in alike):
        raise InputError(
            f"{folder} stores a {HEAD} unlike its embedding although config.json has tie_word_embeddings; "
            "set tie_word_embeddings to false there or remove the tensor"
        )
    return rest


def _is_tied(path: Path) -> bool:
    config = read_json(path) if path.is_file() else None
    return isinstance(config, dict) and config.get("tie_word_embeddings") is True
