from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from training.model.batching import Batch, Example, collate, micro_batches
from training.model.loss import OBJECTIVES, answer_logits, answer_losses, cross_entropy, pack_if_possible, squared_error
from training.model.packed_attention import disable_packing

FLOAT32_NORMS = 2e-6
"""Relative error to expect in float64 too: RMSNorm computes in float32 whatever the dtype of the model."""

seeds = st.integers(0, 2**32 - 1)
objectives = st.sampled_from(sorted(OBJECTIVES))


def make_examples(seed: int, count: int, prefix: int, vocabulary: int = 256) -> list[Example]:
    """Examples of different lengths behind a common prefix, some of which go on together; answers in the middle too."""
    rng = np.random.default_rng(seed)
    common = rng.integers(0, vocabulary, prefix).tolist()
    made = []
    for _ in range(count):
        length = int(rng.integers(3, 20))
        has_loss = rng.random(length) < 0.4
        has_loss[0], has_loss[-1] = False, True
        own = rng.integers(0, vocabulary, length)
        own[: rng.integers(0, length)] = common[0] if common else 1
        ids = (*common, *own.tolist())
        made.append(Example(ids, (*(False,) * prefix, *has_loss.tolist()), prefix + length - 1))
    return made


def loss_and_gradients(
    model: PreTrainedModel, batches: Sequence[Batch], objective: str = "cross-entropy"
) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    total = 0.0
    for batch in batches:
        loss = answer_losses(model, batch, objective)[0].sum()
        loss.backward()
        total += loss.item()
    return total, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_gradients_equal(one: dict[str, Tensor], other: dict[str, Tensor], relative: float = FLOAT32_NORMS) -> None:
    assert one.keys() == other.keys()
    scale = max(gradient.abs().max().item() for gradient in one.values())
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], rtol=0, atol=relative * scale, msg=name)


@pytest.fixture(scope="module")
def model(load_tiny: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    """A model that takes whole rows."""
    return load_tiny()


@pytest.fixture(scope="module")
def packing(load_tiny: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    """The same model, packing rows behind their shared prefix."""
    model = load_tiny()
    assert pack_if_possible(model)
    return model


@settings(max_examples=20)
@given(seed=seeds, objective=objectives, prefix=st.sampled_from([0, 6]), pack=st.booleans())
def test_the_loss_of_an_item_does_not_depend_on_the_batch_it_is_in(
    model: PreTrainedModel, packing: PreTrainedModel, seed: int, objective: str, prefix: int, pack: bool
) -> None:
    examples = make_examples(seed, 5, prefix)
    batch = collate(examples, range(5))
    with torch.no_grad():
        losses, _ = answer_losses(packing if pack else model, batch, objective)
        per_item = torch.zeros(5, dtype=torch.float64).index_add_(0, batch.items, losses)
        for number, example in enumerate(examples):
            alone, _ = answer_losses(model, collate([example], [0]), objective)
            torch.testing.assert_close(per_item[number], alone.sum(), rtol=FLOAT32_NORMS, atol=0)


@settings(max_examples=20)
@given(seed=seeds, count=st.integers(1, 4), pack=st.booleans())
def test_logits_at_answers_are_a_slice_of_all_logits(
    model: PreTrainedModel, packing: PreTrainedModel, seed: int, count: int, pack: bool
) -> None:
    examples = make_examples(seed, count, prefix=2)
    with torch.no_grad():
        expected = [
            model(torch.tensor([example.ids])).logits[0, position - 1]
            for example in sorted(examples, key=lambda example: example.ids)
            for position in range(len(example))
            if example.has_loss[position]
        ]
        logits = answer_logits(packing if pack else model, collate(examples, range(count)))
    torch.testing.assert_close(logits, torch.stack(expected), rtol=FLOAT32_NORMS, atol=1e-6)


@pytest.mark.parametrize("pack", [False, True])
def test_the_head_sees_answer_positions_only_and_is_left_as_it_was(
    model: PreTrainedModel, packing: PreTrainedModel, pack: bool
) -> None:
    chosen = packing if pack else model
    seen: list[int] = []
    head = chosen.get_output_embeddings()
    watch = head.register_forward_hook(lambda _, inputs, output: seen.append(output.numel() // output.shape[-1]))
    batch = collate(make_examples(0, 3, prefix=6), range(3))
    answer_logits(chosen, batch)
    watch.remove()
    assert seen == [batch.answer_tokens]
    assert not head._forward_pre_hooks
    with pytest.raises(IndexError):
        answer_logits(chosen, collate([Example((10**6, 1), (False, True), 1)], [0]))
    assert not head._forward_pre_hooks


@settings(max_examples=20)
@given(seed=seeds, prefix=st.sampled_from([0, 1, 9]), count=st.integers(1, 4), objective=objectives)
def test_packing_behind_a_shared_prefix_changes_neither_loss_nor_gradient(
    model: PreTrainedModel, packing: PreTrainedModel, seed: int, prefix: int, count: int, objective: str
) -> None:
    batch = collate(make_examples(seed, count, prefix), range(count))
    assert (batch.shared[1:] >= prefix).all()
    whole, gradients = loss_and_gradients(model, [batch], objective)
    packed, packed_gradients = loss_and_gradients(packing, [batch], objective)
    assert packed == pytest.approx(whole, rel=FLOAT32_NORMS)
    assert_gradients_equal(gradients, packed_gradients)


def test_a_row_that_ends_where_another_goes_on_with_the_padding_token_is_packed_right(
    model: PreTrainedModel, packing: PreTrainedModel
) -> None:
    short = Example((1, 2, 7), (False, False, True), 2)
    longer = Example((1, 2, 7, 0, 0, 3), (False, False, False, True, True, True), 3)
    batch = collate([short, longer], range(2))
    whole, gradients = loss_and_gradients(model, [batch])
    packed, packed_gradients = loss_and_gradients(packing, [batch])
    assert packed == pytest.approx(whole, rel=FLOAT32_NORMS)
    assert_gradients_equal(gradients, packed_gradients)


def test_packed_every_token_goes_through_the_model_once_and_padding_never(packing: PreTrainedModel) -> None:
    shapes: list[tuple[int, ...]] = []
    watch = packing.get_input_embeddings().register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape))
    batch = collate(make_examples(1, 3, prefix=9), range(3))
    answer_logits(packing, batch)
    watch.remove()
    beginnings = {
        tuple(row[:end])
        for row, length in zip(batch.input_ids.tolist(), batch.lengths.tolist(), strict=True)
        for end in range(1, length + 1)
    }
    assert shapes == [(1, len(beginnings))]
    assert shapes[0][1] < batch.lengths.sum() < batch.input_ids.numel()


def test_a_packed_row_does_not_see_the_other_rows_and_sees_its_prefix(packing: PreTrainedModel) -> None:
    examples = make_examples(4, 3, prefix=6)
    vocabulary = packing.config.vocab_size

    def losses_of_first(changed: int, position: int) -> Tensor:
        ids = [list(example.ids) for example in examples]
        for row in range(3) if changed < 0 else [changed]:
            ids[row][position] = (ids[row][position] + 1) % vocabulary
        moved = [Example(tuple(new), old.has_loss, old.prompt_length) for new, old in zip(ids, examples, strict=True)]
        batch = collate(moved, range(3))
        assert (batch.shared[1:] >= 6).all()
        with torch.no_grad():
            return answer_losses(packing, batch, "cross-entropy")[0][batch.items == 0]

    plain = losses_of_first(1, -1)
    torch.testing.assert_close(losses_of_first(2, -1), plain, rtol=FLOAT32_NORMS, atol=0)
    assert not torch.allclose(losses_of_first(-1, 2), plain, rtol=1e-4, atol=0)


SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ARCHITECTURES: dict[str, Callable[[], PreTrainedModel]] = {
    "learnt positions": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)
    ),
    "sliding window": lambda: MistralForCausalLM(MistralConfig(**SIZES, **HEADS, sliding_window=8)),
    "soft capping": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SIZES, **HEADS, head_dim=8, sliding_window=8, final_logit_softcapping=0.01)
    ),
    "recurrent": lambda: MambaForCausalLM(
        MambaConfig(vocab_size=64, hidden_size=32, state_size=4, num_hidden_layers=2, pad_token_id=0)
    ),
}
WHOLE_ROWS_ONLY = {"soft capping", "recurrent"}


def build(name: str) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ARCHITECTURES[name]().double().eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("prefix", [0, 5, 20])
def test_wherever_packing_is_taken_up_it_is_exact_and_where_it_would_not_be_rows_stay_whole(
    name: str, prefix: int
) -> None:
    model = build(name)
    relative = 1e-12 if name == "learnt positions" else FLOAT32_NORMS
    examples = make_examples(7, 3, prefix, vocabulary=64)
    expected, gradients = loss_and_gradients(model, [collate([example], [0]) for example in examples])
    assert pack_if_possible(model) == (name not in WHOLE_ROWS_ONLY)
    found, found_gradients = loss_and_gradients(model, [collate(examples, range(3))])
    assert found == pytest.approx(expected, rel=relative)
    assert_gradients_equal(gradients, found_gradients, relative)


def test_a_model_that_drops_out_at_random_is_not_packed() -> None:
    model = build("learnt positions")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not pack_if_possible(model.train())
    assert pack_if_possible(model.eval())


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_(en|dis)able. is deprecated:FutureWarning")
def test_gradient_checkpointing_changes_no_gradient_packed_or_not(load_tiny: Callable[..., PreTrainedModel]) -> None:
    batch = collate(make_examples(5, 3, prefix=9), range(3))
    _, plain = loss_and_gradients(load_tiny(), [batch])
    checkpointed = load_tiny().train()
    checkpointed.gradient_checkpointing_enable({"use_reentrant": False})
    assert_gradients_equal(plain, loss_and_gradients(checkpointed, [batch])[1])
    pack_if_possible(checkpointed)
    assert_gradients_equal(plain, loss_and_gradients(checkpointed, [batch])[1])


def test_without_packing_again_the_model_is_as_before(load_tiny: Callable[..., PreTrainedModel]) -> None:
    model = load_tiny()
    ids = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        before = model(ids).logits
        assert pack_if_possible(model)
        disable_packing(model)
        torch.testing.assert_close(model(ids).logits, before, rtol=0, atol=0)
        produced = model.generate(ids, max_new_tokens=2, do_sample=False, attention_mask=torch.ones_like(ids))
    assert produced.shape[1] <= 8


def test_finding_out_leaves_no_gradient_and_moves_no_global_state(load_tiny: Callable[..., PreTrainedModel]) -> None:
    model = load_tiny("float32")
    before = torch.random.get_rng_state()
    pack_if_possible(model)
    assert all(parameter.grad is None for parameter in model.parameters())
    torch.testing.assert_close(torch.random.get_rng_state(), before, rtol=0, atol=0)


@settings(max_examples=15)
@given(seed=seeds, limit=st.sampled_from([1, 40, 10**6]), objective=objectives)
def test_the_cut_into_micro_batches_changes_neither_summed_loss_nor_gradient(
    model: PreTrainedModel, packing: PreTrainedModel, seed: int, limit: int, objective: str
) -> None:
    examples = make_examples(seed, 6, prefix=5)
    one, gradients = loss_and_gradients(model, [collate(examples, range(6))], objective)
    cut, cut_gradients = loss_and_gradients(packing, list(micro_batches(examples, limit)), objective)
    assert cut == pytest.approx(one, rel=FLOAT32_NORMS)
    assert_gradients_equal(gradients, cut_gradients)


def test_a_mean_per_micro_batch_would_depend_on_the_cut(model: PreTrainedModel) -> None:
    examples = make_examples(2, 6, prefix=5)
    with torch.no_grad():
        means = [
            np.mean([answer_losses(model, batch, "cross-entropy")[0].mean() for batch in micro_batches(examples, cut)])
            for cut in (1, 10**6)
        ]
    assert abs(means[0] - means[1]) > 1e-4


# --- objectives -------------------------------------------------------------------------------------------------------


@given(seeds, st.sampled_from([(1, 2), (4, 7)]), st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_cross_entropy_is_the_negative_log_of_the_targets_probability(
    seed: int, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(3 * rng.normal(size=shape)).to(dtype)
    targets = rng.integers(0, shape[1], shape[0])
    exact = logits.double().numpy()
    probability = np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True)
    expected = -np.log(probability[np.arange(shape[0]), targets])
    losses = cross_entropy(logits, torch.tensor(targets))
    assert losses.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    np.testing.assert_allclose(losses.double(), expected, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-5)


@given(seeds, st.sampled_from([(1, 2), (4, 7)]))
def test_squared_error_is_half_the_squared_distance_from_the_one_hot_target(seed: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=shape), rng.integers(0, shape[1], shape[0])
    expected = 0.5 * ((logits - np.eye(shape[1])[targets]) ** 2).sum(axis=1)
    found = squared_error(torch.tensor(logits), torch.tensor(targets))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * (1 + expected.max()))


def third_difference(objective: str, seed: int) -> tuple[float, float]:
    """Third difference of the loss along a line in the weights of a linear head, and the size of the loss."""
    rng = np.random.default_rng(seed)
    hidden, head, direction = (torch.tensor(rng.normal(size=shape)) for shape in ((5, 3), (3, 7), (3, 7)))
    targets = torch.tensor(rng.integers(0, 7, 5))
    at = [OBJECTIVES[objective](hidden @ (head + step * direction), targets).sum().item() for step in range(4)]
    return at[3] - 3 * at[2] + 3 * at[1] - at[0], max(map(abs, at))


@given(seeds)
def test_squared_error_is_quadratic_in_the_head_and_cross_entropy_is_not(seed: int) -> None:
    difference, size = third_difference("squared-error", seed)
    assert abs(difference) <= 1e-12 * size
    difference, size = third_difference("cross-entropy", seed)
    assert abs(difference) > 1e-9 * size


@settings(max_examples=10)
@given(seed=seeds)
def test_a_token_is_correct_when_it_is_the_most_likely(model: PreTrainedModel, seed: int) -> None:
    batch = collate(make_examples(seed, 3, prefix=0), range(3))
    with torch.no_grad():
        best = answer_logits(model, batch).argmax(dim=1)
        _, correct = answer_losses(model, batch, "cross-entropy")
    torch.testing.assert_close(correct, best == batch.targets)
