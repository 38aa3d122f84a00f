import itertools
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import Parameter, functional

from diagnostics.curvature.hessian import HessianOperator
from diagnostics.curvature.loss_terms import LossTerm, answer_loss_terms
from diagnostics.curvature.operator import CurvatureOperator
from diagnostics.curvature.reductions import dot, norm
from training.errors import InputError
from training.model.batching import Example, micro_batches
from training.model.embedded import write_tiny_llama
from training.model.load import choose_trainable, load_model
from training.model.loss import answer_losses

AMPLE = 10**9
seeds = st.integers(0, 2**32 - 1)
budgets = st.sampled_from([0, 3000, AMPLE])


class Network:
    """tanh between two layers and a cross-entropy, on nine tokens."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.inputs = torch.tensor(rng.standard_normal((9, 3)))
        self.targets = torch.tensor(rng.integers(0, 4, 9))
        self.parameters = {
            "first": Parameter(torch.tensor(rng.standard_normal((3, 2)))),
            "second": Parameter(torch.tensor(rng.standard_normal((2, 4)))),
        }
        self.vectors = torch.tensor(rng.standard_normal((2, 14)))

    def losses(self, first: Tensor, second: Tensor, rows: slice = slice(None)) -> Tensor:
        return functional.cross_entropy(
            (self.inputs[rows] @ first).tanh() @ second, self.targets[rows], reduction="none"
        )

    def terms(self, cuts: Sequence[int]) -> list[LossTerm]:
        edges = [0, *cuts, 9]
        pieces = [slice(start, stop) for start, stop in itertools.pairwise(edges)]
        return [
            LossTerm(
                outputs=lambda rows=rows: (
                    (self.inputs[rows] @ self.parameters["first"]).tanh() @ self.parameters["second"]
                ),
                losses=lambda outputs, rows=rows: functional.cross_entropy(
                    outputs, self.targets[rows], reduction="none"
                ),
                tokens=rows.stop - rows.start,
            )
            for rows in pieces
        ]

    def dense(self, pieces: Sequence[slice] = (slice(None),)) -> Tensor:
        """Hessian of the mean over ``pieces`` of the mean loss of each."""
        flat = torch.cat([parameter.detach().reshape(-1) for parameter in self.parameters.values()])

        def loss(flat: Tensor) -> Tensor:
            first, second = flat[:6].view(3, 2), flat[6:].view(2, 4)
            return torch.stack([self.losses(first, second, rows).mean() for rows in pieces]).mean()

        return torch.autograd.functional.hessian(loss, flat)


@given(seeds, budgets)
@settings(max_examples=30)
def test_products_are_those_of_the_dense_hessian_and_do_not_depend_on_what_is_kept(seed: int, budget: int) -> None:
    network = Network(seed)
    operator: CurvatureOperator = HessianOperator(network.parameters, network.terms([4, 7]), graph_bytes=budget)
    dense = network.dense()
    assert (operator.dimension, operator.dtype, operator.device) == (14, torch.float64, torch.device("cpu"))
    for vector in (*network.vectors, network.vectors[0]):
        assert torch.allclose(operator.product(vector), dense @ vector, rtol=1e-10, atol=1e-12)


@given(seeds)
@settings(max_examples=30)
def test_products_are_linear_and_symmetric(seed: int) -> None:
    network = Network(seed)
    operator = HessianOperator(network.parameters, network.terms([5]), graph_bytes=AMPLE)
    one, other = network.vectors
    assert dot(operator.product(one), other) == pytest.approx(dot(one, operator.product(other)), abs=1e-12)
    combined = operator.product(2 * one - 3 * other)
    assert torch.allclose(combined, 2 * operator.product(one) - 3 * operator.product(other), atol=1e-12)


def test_the_cutting_into_micro_batches_changes_nothing_where_a_mean_of_means_would() -> None:
    network = Network(0)
    vector = network.vectors[0]
    whole = HessianOperator(network.parameters, network.terms([]), graph_bytes=0).product(vector)
    for cuts in ([1], [1, 8], [2, 3, 4]):
        cut = HessianOperator(network.parameters, network.terms(cuts), graph_bytes=0).product(vector)
        assert torch.allclose(cut, whole, rtol=1e-12, atol=1e-14)
    mean_of_means = network.dense([slice(0, 1), slice(1, 9)]) @ vector
    assert norm(mean_of_means - whole) > 0.05 * norm(whole)


@pytest.mark.parametrize("budget", [0, AMPLE])
def test_a_quadratic_has_its_matrix_and_a_linear_loss_none(budget: int) -> None:
    matrix = torch.tensor([[2.0, -3.0], [-3.0, 1.0]])
    weight, slope = Parameter(torch.tensor([5.0, 7.0])), Parameter(torch.tensor([1.0]))
    term = LossTerm(lambda: weight[None], lambda outputs: 0.5 * (outputs @ matrix * outputs).sum(1) + slope, 1)
    operator = HessianOperator({"slope": slope, "weight": weight}, [term], graph_bytes=budget)
    assert operator.product(torch.tensor([9.0, 1.0, 2.0])).tolist() == [0.0, -4.0, -1.0]
    alone = HessianOperator({"slope": slope}, [term], graph_bytes=budget)
    assert alone.product(torch.ones(1)).tolist() == [0.0]


def test_graphs_are_kept_until_their_memory_is_spent() -> None:
    network = Network(1)

    def kept(budget: int) -> int:
        operator = HessianOperator(network.parameters, network.terms([3, 6]), graph_bytes=budget)
        operator.product(network.vectors[0])
        return len(operator.graphs)

    counts = [kept(budget) for budget in (0, 1000, 3000, 5000, AMPLE)]
    assert counts[0] == 0
    assert counts[-1] == 3
    assert counts == sorted(counts)
    assert set(counts) & {1, 2}, f"no budget kept some and not all: {counts}"


@pytest.mark.parametrize("budget", [0, AMPLE])
def test_an_operator_refuses_to_go_on_at_other_parameters(budget: int) -> None:
    network = Network(2)
    operator = HessianOperator(network.parameters, network.terms([3]), graph_bytes=budget)
    operator.product(network.vectors[0])
    with torch.no_grad():
        network.parameters["second"].add_(1)
    with pytest.raises(ValueError, match="1 parameters changed since the operator was made, first 'second'"):
        operator.product(network.vectors[0])


def test_what_is_not_kept_is_freed_at_once() -> None:
    weight, made = Parameter(torch.ones(3)), []

    def outputs() -> Tensor:
        values = weight.tanh()
        made.append(weakref.ref(values))
        return values

    operator = HessianOperator({"weight": weight}, [LossTerm(outputs, torch.square, 3)], graph_bytes=0)
    operator.product(torch.ones(3))
    assert [reference() for reference in made] == [None] * 3


def test_a_loss_without_a_curvature_is_refused() -> None:
    weight = Parameter(torch.linspace(0.1, 1.7, 50))
    parameters = {"weight": weight}
    dropped = LossTerm(lambda: functional.dropout(weight, 0.1, training=True), lambda outputs: outputs**2, 50)
    with pytest.raises(InputError, match=r"not deterministic .* switch dropout off with model.eval\(\)"):
        HessianOperator(parameters, [dropped], graph_bytes=0)
    with pytest.raises(InputError, match="the loss is nan"):
        HessianOperator(parameters, [LossTerm(lambda: weight - 2, torch.sqrt, 50)], graph_bytes=0)
    with pytest.raises(InputError, match="no answer tokens"):
        HessianOperator(parameters, [], graph_bytes=0)


# --- a transformer --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("tiny-llama")
    write_tiny_llama(target)
    return target


def make_examples() -> list[Example]:
    rng = np.random.default_rng(0)
    prompt = (1, 2, 3, 4)
    return [
        Example((*prompt, *rng.integers(0, 256, length).tolist()), (False,) * 4 + (True,) * length, 4)
        for length in (2, 9, 4)
    ]


def test_packed_rows_have_the_hessian_of_whole_rows_whatever_the_micro_batches(folder: Path) -> None:
    model = load_model(folder, "float64", torch.device("cpu"))
    examples = make_examples()
    parameters = choose_trainable(model, ["model.layers.1.*layernorm.weight"])
    vector = torch.linspace(-1, 2, 128, dtype=torch.float64)
    # The oracle differences exact gradients of padded whole rows.
    gradients = []
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, piece in zip(parameters.values(), vector.split(64), strict=True):
                parameter.add_(sign * 1e-2 * piece)
        (batch,) = micro_batches(examples, 1000)
        loss = answer_losses(model, batch, "cross-entropy")[0].mean()
        gradients.append(torch.cat(torch.autograd.grad(loss, tuple(parameters.values()))))
        with torch.no_grad():
            for parameter, piece in zip(parameters.values(), vector.split(64), strict=True):
                parameter.sub_(sign * 1e-2 * piece)
    oracle = (gradients[0] - gradients[1]) / 2e-2
    products = []
    for max_tokens in (1000, 14):
        terms = answer_loss_terms(model, micro_batches(examples, max_tokens), "cross-entropy")
        products.append(HessianOperator(parameters, terms, graph_bytes=AMPLE).product(vector))
    assert len(terms) == 3
    assert norm(products[0] - products[1]) < 1e-5 * norm(products[0])
    assert norm(products[0] - oracle) < 2e-3 * norm(oracle)


def test_attention_dropout_is_refused(folder: Path) -> None:
    model = load_model(folder, "float32", torch.device("cpu"))
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    terms = answer_loss_terms(model.train(), micro_batches(make_examples(), 1000), "cross-entropy")
    with pytest.raises(InputError, match="not deterministic"):
        HessianOperator(dict(model.named_parameters()), terms, graph_bytes=0)
    model.eval()
    assert HessianOperator(dict(model.named_parameters()), terms, graph_bytes=0).dimension == 90624
