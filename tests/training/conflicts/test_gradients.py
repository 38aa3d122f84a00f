from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedModel

from training.conflicts.gradients import TaskGradients, _Moments, parameter_group, task_gradients
from training.conflicts.sketch import SignedSketch, Stride, fold
from training.errors import InputError
from training.interruption import Interrupted
from training.model.batching import Example, collate
from training.model.load import choose_trainable
from training.model.loss import answer_losses

CPU = torch.device("cpu")
SIZE, SEED = 512, 3
GROUPS = [[0, 3, 1], [2], [5, 4]]
seeds = st.integers(0, 2**32 - 1)


def make_examples(seed: int, count: int = 6) -> list[Example]:
    rng = np.random.default_rng(seed)
    prefix = tuple(rng.integers(0, 256, 5).tolist())
    made = []
    for _ in range(count):
        prompt, answer = rng.integers(2, 9), rng.integers(1, 6)
        ids = tuple(rng.integers(0, 256, prompt + answer).tolist())
        made.append(Example(prefix + ids, (False,) * int(5 + prompt) + (True,) * int(answer), int(5 + prompt)))
    return made


def run_pass(model: PreTrainedModel, examples: list[Example], **changes: Any) -> TaskGradients:
    arguments = {
        "trainable": choose_trainable(model, changes.pop("patterns", ["*"])),
        "groups_of_examples": GROUPS,
        "compression": SignedSketch(SIZE, SEED, CPU, torch.float64),
        "objective": "cross-entropy",
        "precision": "float64",
        "group_sketch_size": 64,
        "seed": SEED,
        "keep": len(GROUPS),
        "report": lambda tokens: None,
        "stopping": lambda: False,
    }
    return task_gradients(model, examples=examples, **arguments | changes)


def exact_gradient(model: PreTrainedModel, examples: list[Example]) -> dict[str, Tensor]:
    """Gradient of the summed loss, one example at a time and without any of the pass's machinery."""
    model.zero_grad()
    for example in examples:
        answer_losses(model, collate([example], [0]), "cross-entropy")[0].sum().backward()
    gradient = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return gradient


@pytest.fixture(scope="module")
def model(load_tiny: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    return load_tiny()


@settings(max_examples=8)
@given(seed=seeds)
def test_every_row_is_the_sketch_of_its_micro_batchs_gradient_and_their_mean_that_of_the_task(
    model: PreTrainedModel, seed: int
) -> None:
    examples = make_examples(seed)
    found = run_pass(model, examples)
    sketch = SignedSketch(SIZE, SEED, CPU, torch.float64)
    exact = [exact_gradient(model, [examples[index] for index in group]) for group in GROUPS]
    scale = max(sketch.of(gradient).norm().item() for gradient in exact)
    for row, gradient in zip(found.sums, exact, strict=True):
        np.testing.assert_allclose(row, sketch.of(gradient), rtol=0, atol=2e-6 * scale)
    tokens = [sum(examples[index].answer_tokens for index in group) for group in GROUPS]
    np.testing.assert_array_equal(found.counts, tokens)
    whole = exact_gradient(model, examples)
    mean = sketch.of({name: gradient / sum(tokens) for name, gradient in whole.items()})
    np.testing.assert_allclose(found.sums.sum(axis=0) / found.counts.sum(), mean, rtol=0, atol=2e-6 * scale)


@settings(max_examples=8)
@given(seed=seeds)
def test_norms_and_participation_are_those_of_the_uncompressed_gradient(model: PreTrainedModel, seed: int) -> None:
    examples = make_examples(seed)
    found = run_pass(model, examples)
    for number, group in enumerate(GROUPS):
        exact = exact_gradient(model, [examples[index] for index in group])
        entries = torch.cat([gradient.reshape(-1) for gradient in exact.values()])
        assert found.norms[number] == pytest.approx(entries.norm().item(), rel=1e-5)
        assert found.participation[number] == pytest.approx(
            (entries.square().sum() ** 2 / entries.pow(4).sum()).item(), rel=1e-5
        )
        assert 1 <= found.participation[number] <= entries.numel()


def test_the_participation_ratio_counts_equal_entries() -> None:
    moments = _Moments()
    moments.add(torch.tensor(2.0))
    moments.add(torch.full((2, 3), -2.0))
    moments.add(torch.zeros(50))
    assert moments.second**2 / moments.fourth == 7


def test_groups_hold_the_sketch_of_their_parameters_over_the_whole_task(model: PreTrainedModel) -> None:
    examples = make_examples(0)
    found = run_pass(model, examples)
    whole = exact_gradient(model, examples)
    assert set(found.groups) == {parameter_group(name) for name in whole}
    sketch = SignedSketch(SIZE, SEED, CPU, torch.float64)
    for group, row in zip(found.groups, found.group_sums, strict=True):
        members = {name: gradient for name, gradient in whole.items() if parameter_group(name) == group}
        expected = fold(sketch.of(members).float().numpy(), 64, SEED)
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-5 * np.abs(found.group_sums).max())
    folded = fold(found.sums.sum(axis=0), 64, SEED)
    np.testing.assert_allclose(found.group_sums.sum(axis=0), folded, rtol=0, atol=1e-5 * np.abs(folded).max())


def test_a_stride_keeps_exact_entries_and_rows_take_micro_batches_in_turn(model: PreTrainedModel) -> None:
    examples = make_examples(1)
    lengths = {name: parameter.numel() for name, parameter in choose_trainable(model, ["*"]).items()}
    found = run_pass(model, examples, compression=Stride(lengths, 5), keep=2)
    even, odd = [examples[index] for index in GROUPS[0] + GROUPS[2]], [examples[index] for index in GROUPS[1]]
    assert found.groups == ()
    assert found.group_sums.shape == (0, 64)
    assert found.norms.shape == (3,)
    for row, count, members in zip(found.sums, found.counts, (even, odd), strict=True):
        exact = exact_gradient(model, members)
        kept = np.concatenate([exact[name].numpy().ravel() for name in lengths])[::5]
        np.testing.assert_allclose(row, kept, rtol=0, atol=2e-6 * np.abs(kept).max())
        assert count == sum(example.answer_tokens for example in members)


def test_only_what_is_trained_is_measured(model: PreTrainedModel) -> None:
    examples = make_examples(2)
    found = run_pass(model, examples, patterns=["*.1.mlp.*", "*norm.weight"])
    exact = exact_gradient(model, examples)
    choose_trainable(model, ["*"])
    names = {name for name in exact if ".1.mlp." in name or name.endswith("norm.weight")}
    assert set(found.groups) == {parameter_group(name) for name in names}
    expected = SignedSketch(SIZE, SEED, CPU, torch.float64).of({name: exact[name] for name in names})
    np.testing.assert_allclose(found.sums.sum(axis=0), expected, rtol=0, atol=2e-6 * expected.norm().item())


def assert_left_as_it_was(model: PreTrainedModel) -> None:
    """A plain backward pass keeps its gradients: no hook takes them away."""
    assert all(parameter.grad is None for parameter in model.parameters())
    assert exact_gradient(model, make_examples(0)).keys() == dict(model.named_parameters()).keys()


def test_the_model_is_left_without_hooks_and_gradients(model: PreTrainedModel) -> None:
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    run_pass(model, make_examples(0))
    assert_left_as_it_was(model)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_the_pass_reports_tokens_and_stops_before_a_micro_batch_when_told_to(model: PreTrainedModel) -> None:
    examples = make_examples(3)
    reported: list[int] = []
    run_pass(model, examples, report=reported.append)
    assert reported == [sum(len(examples[index]) for index in group) for group in GROUPS]
    reported.clear()
    with pytest.raises(Interrupted):
        run_pass(model, examples, report=reported.append, stopping=lambda: len(reported) == 2)
    assert len(reported) == 2
    assert_left_as_it_was(model)


def test_a_gradient_that_is_not_finite_is_refused_with_its_micro_batch(
    load_tiny: Callable[[], PreTrainedModel],
) -> None:
    config = load_tiny().config
    config.tie_word_embeddings = False
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).double().eval()
    poisoned = 250
    with torch.no_grad():
        model.get_input_embeddings().weight[poisoned] = torch.inf
    clean = [Example((1, 2, 3, 4), (False, False, True, True), 2) for _ in range(5)]
    examples = [*clean, Example((1, poisoned, 3, 4), (False, False, True, True), 2)]
    with pytest.raises(InputError, match="calibration micro-batch 2 is not finite"):
        run_pass(model, examples)
    assert all(not parameter._post_accumulate_grad_hooks for parameter in model.parameters())
    assert np.isfinite(run_pass(model, clean, groups_of_examples=[[0, 1], [2, 3], [4]]).sums).all()


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("model.layers.11.self_attn.q_proj.weight", "model.layers.11.self_attn"),
        ("model.layers.0.mlp.down_proj.bias", "model.layers.0.mlp"),
        ("model.layers.0.input_layernorm.weight", "model.layers.0.input_layernorm"),
        ("model.norm.weight", "model.norm"),
        ("lm_head.weight", "lm_head"),
        ("transformer.h.3.attn.c_attn.weight", "transformer.h.3.attn"),
    ],
)
def test_a_group_is_a_module_of_a_layer(name: str, group: str) -> None:
    assert parameter_group(name) == group
