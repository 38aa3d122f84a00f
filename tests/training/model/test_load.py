import fnmatch
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from training.errors import InputError
from training.model.batching import collate, encode
from training.model.embedded import cache_folder, embedded_model, write_tiny_llama
from training.model.load import (
    autocast,
    choose_trainable,
    context_length,
    find_model,
    load_model,
    load_tokenizer,
    place_model,
    resolve_precision,
    save_model,
)
from training.model.loss import answer_losses, pack_if_possible
from training.run_directory import folder_hash
from training.sources.row import single_turn

CPU = torch.device("cpu")


# --- embedded models --------------------------------------------------------------------------------------------------


def test_the_tiny_model_has_the_same_weights_wherever_it_is_written(tiny_folder: Path, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    torch.manual_seed(99)
    write_tiny_llama(tmp_path)
    assert torch.initial_seed() == 99
    torch.random.set_rng_state(before)
    assert folder_hash(tmp_path) == folder_hash(tiny_folder)


def test_the_tiny_tokenizer_reads_any_text_back(tokenizer) -> None:
    text = "naïve \U0001f600\u2028\t x"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode("<|im_end|>", add_special_tokens=False) == [tokenizer.eos_token_id]


def test_an_embedded_model_is_converted_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MERIT_CACHE", str(tmp_path))
    folder = find_model("tiny-llama")
    assert folder == embedded_model("tiny-llama") == cache_folder() / "tiny-llama" == tmp_path / "tiny-llama"
    weights = folder / "model.safetensors"
    before = weights.stat()
    assert find_model("tiny-llama") == folder
    assert (weights.stat().st_ino, weights.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert {entry.name for entry in tmp_path.iterdir()} == {"tiny-llama", "tiny-llama.json"}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_embedded_model_is_converted_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("MERIT_CACHE", str(tmp_path))
    file = embedded_model("tiny-llama") / name
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:100], b"", whole[:-9] + b"X" + whole[-8:]):
        file.write_bytes(damaged)
        embedded_model("tiny-llama")
        assert file.read_bytes() == whole


@pytest.mark.model
@pytest.mark.slow
def test_the_real_model_answers_and_trains_on_what_generation_is_given(tmp_path: Path) -> None:
    folder = embedded_model("smollm2-135m")
    model, tokenizer = load_model(folder, "float32", CPU), load_tokenizer(folder)
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    answers = {"France": "The capital of France is Paris.", "Italy": "The capital of Italy is Rome."}
    rows = [single_turn(f"What is the capital of {land}?", answer) for land in answers for answer in answers.values()]
    examples = encode(rows, tokenizer, context_length(model.config, None), "capitals")
    prompt = tokenizer.apply_chat_template(list(rows[0].messages[:-1]), add_generation_prompt=True, return_dict=False)
    assert list(examples[0].ids[: examples[0].prompt_length]) == prompt
    assert tokenizer.decode(examples[0].ids[len(prompt) :]) == f"{answers['France']}<|im_end|>"
    batch = collate(examples, range(4))
    with torch.inference_mode():
        generated = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)
        whole, _ = answer_losses(model, batch, "cross-entropy")
        assert pack_if_possible(model)
        packed, _ = answer_losses(model, batch, "cross-entropy")
    torch.testing.assert_close(packed, whole, rtol=1e-3, atol=1e-3)
    france_paris, france_rome, italy_paris, italy_rome = torch.zeros(4).index_add_(0, batch.items, whole).tolist()
    assert france_paris + 5 < france_rome  # nats: the model knows, and damaged weights would not
    assert italy_rome + 5 < italy_paris
    assert "Paris" in tokenizer.decode(generated[0][len(prompt) :])


# --- finding, placing, loading ----------------------------------------------------------------------------------------


def test_a_model_that_is_not_there_or_not_safe_to_load_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"'no/such-model' is no local folder, not embedded \(smollm2-135m, tiny-llama\)"
    ):
        find_model("no/such-model")
    with pytest.raises(InputError, match=r"no config.json"):
        find_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(InputError, match=r"no .safetensors weights.*pickles are not read"):
        find_model(str(tmp_path))


def test_a_placed_model_has_the_same_weights_and_all_it_takes_to_load(tiny_folder: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "run" / "base"
    shutil.copytree(tiny_folder, source)
    (source / "readme.md").touch()
    (source / "pytorch_model.bin").touch()
    place_model(source, target)
    assert folder_hash(target) == folder_hash(source)
    load_model(target, "float32", CPU)
    load_tokenizer(target)
    assert {file.name for file in source.iterdir()} - {file.name for file in target.iterdir()} == {
        "readme.md",
        "pytorch_model.bin",
    }
    inode = target.stat().st_ino
    place_model(source, target)
    assert target.stat().st_ino == inode, "the same weights were placed again"
    (target / "model.safetensors").unlink()
    shutil.copy(tiny_folder / "model.safetensors", target / "other.safetensors")
    place_model(source, target)
    assert folder_hash(target) == folder_hash(source)


@pytest.mark.parametrize("damage", ["cut", "missing", "config"])
def test_a_damaged_model_folder_is_refused_by_name(tiny_folder: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    weights = folder / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "missing":
        weights.unlink()
    else:
        (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        load_model(folder, "float32", CPU)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_without_a_tokenizer_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_folder / name, tmp_path / name)
    with pytest.raises(InputError, match="no usable tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(("precision", "dtype"), [("float64", torch.float64), ("bf16-autocast", torch.float32)])
def test_weights_are_loaded_for_evaluation_in_the_dtype_of_the_precision(
    load_tiny: Callable[..., PreTrainedModel], precision: str, dtype: torch.dtype
) -> None:
    model = load_tiny(precision)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert not model.training


def test_a_padding_token_that_is_read_has_the_gradient_of_the_loss(tiny_folder: Path, tmp_path: Path) -> None:
    # As in SmolLM2, whose padding token ends turns.
    read, size = 7, 1e-4
    shutil.copytree(tiny_folder, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"pad_token_id": read}))
    model = load_model(tmp_path / "model", "float64", torch.device("cpu"))
    ids = torch.tensor([[3, read, 4, read, 5]])
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.nn.Parameter)

    def loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(input_ids=ids).logits[0, :-1], ids[0, 1:])

    loss().backward()
    gradient = weight.grad[read].clone()  # pyrefly: ignore
    with torch.no_grad():
        weight[read] += size * gradient
        above = loss()
        weight[read] -= 2 * size * gradient
        below = loss()
    assert ((above - below) / (2 * size)).item() == pytest.approx(gradient.square().sum().item(), rel=1e-4)


def test_autocast_computes_in_bf16_and_only_when_asked() -> None:
    product = {}
    for precision in ("bf16-autocast", "float32", "float64"):
        with autocast(precision, CPU):
            product[precision] = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    assert product == {"bf16-autocast": torch.bfloat16, "float32": torch.float32, "float64": torch.float32}


def test_a_precision_that_is_given_stands_and_auto_is_one_that_the_device_has() -> None:
    for precision in ("bf16-autocast", "float32", "float64"):
        assert resolve_precision(precision, CPU) == precision
    assert resolve_precision("auto", CPU) in ("bf16-autocast", "float32")


def test_the_longest_example_is_the_smaller_of_context_and_limit(load_tiny: Callable[..., PreTrainedModel]) -> None:
    model = load_tiny()
    assert [context_length(model.config, limit) for limit in (None, 100, 5000)] == [1024, 100, 1024]


# --- what is trained --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patterns", [["*"], ["*.mlp.*"], ["*.1.*", "model.norm.weight"], ["*norm*", "*norm.weight"]])
def test_what_matches_a_pattern_is_trained_and_the_rest_is_frozen(
    load_tiny: Callable[..., PreTrainedModel], patterns: list[str]
) -> None:
    model = load_tiny()
    choose_trainable(model, ["*.0.*"])
    chosen = choose_trainable(model, patterns)
    names = [name for name, _ in model.named_parameters()]
    assert list(chosen) == [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == set(chosen)


def test_a_pattern_that_matches_nothing_is_refused(load_tiny: Callable[..., PreTrainedModel]) -> None:
    with pytest.raises(InputError, match=r"'layers.7.*' matches no parameter; names look like 'model.embed_tokens"):
        choose_trainable(load_tiny(), ["*", "layers.7.*"])


# --- saving -----------------------------------------------------------------------------------------------------------


def test_a_saved_model_loads_as_it_was_with_the_tokenizer_of_its_start(
    load_tiny: Callable[..., PreTrainedModel], tiny_folder: Path, tmp_path: Path
) -> None:
    model = load_tiny("float32")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.25)
    companions = tmp_path / "start"
    shutil.copytree(tiny_folder, companions)
    (companions / "provenance.json").write_text("{}")
    (companions / "model.safetensors.index.json").write_text("{}")
    save_model(model, companions, tmp_path / "saved")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    for (name, saved), (other, parameter) in zip(loaded.named_parameters(), model.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(saved, parameter)
    messages = [{"role": "user", "content": "q"}]
    templates = {
        AutoTokenizer.from_pretrained(folder).apply_chat_template(messages, tokenize=False)
        for folder in (tiny_folder, tmp_path / "saved")
    }
    assert templates == {"<|im_start|>user\nq<|im_end|>\n"}
    names = {file.name for file in (tmp_path / "saved").iterdir()}
    assert not names & {"provenance.json", "model.safetensors.index.json"}
    assert (
        load_file(tmp_path / "saved" / "model.safetensors").keys()
        == load_file(tiny_folder / "model.safetensors").keys()
    )
