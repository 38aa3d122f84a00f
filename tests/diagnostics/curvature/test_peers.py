"""Products and eigenvalues beside two other tools', and where theirs are those of another loss."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor
from transformers import PreTrainedModel

from diagnostics.curvature.hessian import HessianOperator
from diagnostics.curvature.lanczos import largest_eigenpairs
from diagnostics.curvature.loss_terms import answer_loss_terms, twice_differentiable
from diagnostics.curvature.reductions import norm
from training.model.batching import Batch, Example, micro_batches
from training.model.embedded import write_tiny_llama
from training.model.load import choose_trainable, load_model
from training.model.loss import answer_losses

with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore"
    )  # torch.jit.script, which curvlinops' imports and torch's own vmap use, is deprecated
    pytest.importorskip("curvlinops")
    pytest.importorskip("hessian_eigenthings")
    from hessian_eigenthings.algorithms import lanczos

    from benchmarks.curvature_peers import answer_tokens_of, curvlinops_hessian, eigenthings_hessian

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

PARAMETERS = ["model.layers.1.*layernorm.weight"]
EQUAL, UNEQUAL = (5, 5, 5), (2, 9, 4)
ROUNDING = 1e-5
"""RMSNorm computes in float32 whatever the model's dtype."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("tiny-llama")
    write_tiny_llama(target)
    return target


@pytest.fixture(scope="module")
def model(folder: Path) -> PreTrainedModel:
    return load_model(folder, "float64", torch.device("cpu"))


@pytest.fixture(scope="module")
def vector() -> Tensor:
    return torch.tensor(np.random.default_rng(1).standard_normal(128))


def batches_of(counts: Sequence[int]) -> list[Batch]:
    """One example per micro-batch, with as many answer tokens as ``counts`` says."""
    rng = np.random.default_rng(0)
    prompt = (1, 2, 3, 4)
    examples = [
        Example((*prompt, *rng.integers(0, 256, count).tolist()), (False,) * 4 + (True,) * count, 4) for count in counts
    ]
    batches = list(micro_batches(examples, 1))
    assert sorted(batch.answer_tokens for batch in batches) == sorted(counts)
    return batches


def ours(model: PreTrainedModel, batches: Sequence[Batch]) -> HessianOperator:
    terms = answer_loss_terms(model, batches, "cross-entropy")
    return HessianOperator(choose_trainable(model, PARAMETERS), terms, graph_bytes=10**9)


def dense(folder: Path, batches: Sequence[Batch]) -> Tensor:
    """The Hessian of the mean over all answer tokens, row by row, of a model that does not pack."""
    model = load_model(folder, "float64", torch.device("cpu"))
    parameters = tuple(choose_trainable(model, PARAMETERS).values())
    with twice_differentiable():
        loss = torch.cat([answer_losses(model, batch, "cross-entropy")[0] for batch in batches]).mean()
        gradient = torch.cat(torch.autograd.grad(loss, parameters, create_graph=True))
        return torch.stack([torch.cat(torch.autograd.grad(entry, parameters, retain_graph=True)) for entry in gradient])


def test_products_are_theirs_where_all_micro_batches_have_equally_many_answer_tokens(
    model: PreTrainedModel, folder: Path, vector: Tensor
) -> None:
    batches = batches_of(EQUAL)
    product = ours(model, batches).product(vector)
    parameters = choose_trainable(model, PARAMETERS)
    with twice_differentiable():
        theirs = [
            eigenthings_hessian(model, parameters, batches) @ vector,
            curvlinops_hessian(model, parameters, batches) @ vector,
        ]
    for other in (*theirs, dense(folder, batches) @ vector):
        assert norm(other - product) < ROUNDING * norm(product)


def test_eigenvalues_are_theirs(model: PreTrainedModel) -> None:
    batches = batches_of(EQUAL)
    parameters = choose_trainable(model, PARAMETERS)
    pairs = largest_eigenpairs(ours(model, batches), 4, by="magnitude", tolerance=1e-6, storage=torch.float64)
    assert pairs.converged.all()
    with twice_differentiable():
        lanczos_values = lanczos(eigenthings_hessian(model, parameters, batches), k=4, max_iter=40, seed=0).eigenvalues
        curvlinops = curvlinops_hessian(model, parameters, batches).to_scipy()
        arpack_values = eigsh(curvlinops, 4, which="LM", tol=1e-8, return_eigenvectors=False, v0=np.ones(128))
    for values in (lanczos_values.numpy(), arpack_values):
        np.testing.assert_allclose(np.sort(values), np.sort(pairs.values), rtol=10 * ROUNDING)


def test_their_mean_over_micro_batches_is_another_loss_where_counts_differ(
    model: PreTrainedModel, folder: Path, vector: Tensor
) -> None:
    batches = batches_of(UNEQUAL)
    true = dense(folder, batches) @ vector
    assert norm(ours(model, batches).product(vector) - true) < ROUNDING * norm(true)
    parameters = choose_trainable(model, PARAMETERS)
    with twice_differentiable():
        by_rows = curvlinops_hessian(model, parameters, batches) @ vector
        equally = eigenthings_hessian(model, parameters, batches) @ vector
        by_tokens = curvlinops_hessian(model, parameters, batches, answer_tokens_of) @ vector
    for wrong in (by_rows, equally):
        assert norm(wrong - true) > 0.2 * norm(true)
    # Told the tokens of each micro-batch, curvlinops weights them rightly; its documentation counts rows.
    assert norm(by_tokens - true) < ROUNDING * norm(true)
