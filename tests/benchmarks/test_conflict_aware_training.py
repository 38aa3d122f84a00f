import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.conflict_aware_steps import (
    GradNorm,
    Joint,
    PCGrad,
    Training,
    balanced_weights,
    gram_matrix,
    projected_sum,
)
from training.branches.spec import BranchSpec
from training.config import BranchSettings, MixtureSettings
from training.mixture import freeze
from training.run_directory import folder_hash

TASKS = ("reasoning_gym:gcd", "reasoning_gym:coin_flip")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_gradients(tasks: int, seed: int) -> Tensor:
    return torch.randn(tasks, 7, dtype=torch.float64, generator=seeded(seed))


def projected_one_by_one(gradients: Tensor, generator: torch.Generator) -> Tensor:
    """Algorithm 1 of arXiv 2001.06782 on the gradients themselves."""
    total = torch.zeros(gradients.shape[1], dtype=gradients.dtype)
    for task, gradient in enumerate(gradients):
        kept = gradient.clone()
        for other in torch.randperm(len(gradients), generator=generator).tolist():
            if other != task and kept @ gradients[other] < 0:
                kept -= (kept @ gradients[other]) / (gradients[other] @ gradients[other]) * gradients[other]
        total += kept
    return total


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_two_tasks_lose_what_of_each_points_against_the_other(seed: int) -> None:
    one, other = random_gradients(2, seed)
    inner = float(one @ other)
    expected = one + other
    if inner < 0:
        expected = (one - inner / (other @ other) * other) + (other - inner / (one @ one) * one)
    coefficients = projected_sum(gram_matrix(torch.stack([one, other])), seeded())
    torch.testing.assert_close(coefficients @ torch.stack([one, other]), expected)


@settings(max_examples=30)
@given(tasks=st.integers(2, 6), seed=st.integers(0, 10**6))
def test_projecting_in_the_span_is_projecting_the_gradients_in_the_same_order(tasks: int, seed: int) -> None:
    gradients = random_gradients(tasks, seed)
    coefficients = projected_sum(gram_matrix(gradients), seeded(seed))
    torch.testing.assert_close(coefficients @ gradients, projected_one_by_one(gradients, seeded(seed)))


@settings(max_examples=30)
@given(tasks=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_gradients_without_a_conflict_are_summed_as_they_are(tasks: int, seed: int) -> None:
    gradients = random_gradients(tasks, seed).abs()
    assert projected_sum(gram_matrix(gradients), seeded(seed)).tolist() == [1.0] * tasks


def test_the_gram_matrix_of_more_entries_than_a_chunk_is_that_of_all() -> None:
    gradients = torch.randn(2, 2**18 + 5, generator=seeded())
    torch.testing.assert_close(gram_matrix(gradients), gradients.double() @ gradients.double().T, rtol=1e-5, atol=0.1)


@settings(max_examples=30)
@given(tasks=st.integers(2, 6), seed=st.integers(0, 10**6))
def test_gradnorms_weights_sum_to_the_number_of_tasks(tasks: int, seed: int) -> None:
    weights, norms, progress = torch.rand(3, tasks, dtype=torch.float64, generator=seeded(seed)) + 0.01
    moved = balanced_weights(weights, norms, progress)
    assert float(moved.sum()) == pytest.approx(tasks)
    assert (moved > 0).all()


def test_gradnorm_gives_weight_to_small_gradients_and_to_slow_tasks() -> None:
    equal = torch.ones(2, dtype=torch.float64)
    moved = balanced_weights(equal, torch.tensor([3.0, 1.0]).double(), equal)
    # Sign steps of .025 times each norm, then scaled to sum to two.
    torch.testing.assert_close(moved, 2 * torch.tensor([0.925, 1.025]).double() / 1.95)
    slow_second = balanced_weights(equal, equal, torch.tensor([0.5, 0.9]).double())
    assert slow_second[1] > 1 > slow_second[0]
    torch.testing.assert_close(balanced_weights(equal, equal, equal), equal)


# --- whole steps ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> BranchSpec:
    from training.model.embedded import write_tiny_llama

    folder = tmp_path_factory.mktemp("two-tasks")
    write_tiny_llama(folder / "start")
    mixture = freeze(MixtureSettings(tasks=list(TASKS), train=4, calibration=2, test=1), 0, folder / "mixture")
    return BranchSpec(
        tasks={task.name: task.hashes["train"] for task in mixture.tasks},
        split="train",
        start=folder_hash(folder / "start"),
        trainable=["*"],
        objective="cross-entropy",
        precision="float64",
        max_length=None,
        seed=0,
        examples=8,
        settings=BranchSettings(batch_size=4, learning_rate=1e-2, optimizer="sgd", clip_norm=None),
        sketch_size=16,
        sketch_seed=0,
        start_path=str(folder / "start"),
        mixture_path=str(folder / "mixture"),
    )


def trained(spec: BranchSpec, method: type) -> tuple[float, dict[str, Tensor], Training]:
    """Loss, weights and the rest after one step."""
    training = Training(spec, 2, torch.device("cpu"))
    loss = method(training).step(training.steps[0])
    return loss, {name: parameter.detach() for name, parameter in training.trainable.items()}, training


@pytest.mark.parametrize("method", [PCGrad, GradNorm])
def test_the_first_step_is_joint_trainings_where_nothing_is_weighted_or_in_conflict(
    spec: BranchSpec, method: type
) -> None:
    loss, ours, _ = trained(spec, Joint)
    their_loss, theirs, _ = trained(spec, method)
    assert their_loss == pytest.approx(loss)
    assert gradients_agree(spec)
    for name, parameter in ours.items():
        torch.testing.assert_close(theirs[name], parameter, rtol=0, atol=1e-9)


def gradients_agree(spec: BranchSpec) -> bool:
    """Whether the two tasks' gradients of the first step have a positive inner product at the start."""
    fresh = PCGrad(Training(spec, 2, torch.device("cpu")))
    fresh.step(fresh.training.steps[0])
    return bool(gram_matrix(fresh.rows)[0, 1] > 0)


def test_each_row_of_pcgrad_is_the_gradient_of_one_task(spec: BranchSpec) -> None:
    _, _, joint = trained(spec, Joint)
    summed = torch.cat([parameter.grad.reshape(-1) for parameter in joint.trainable.values()])
    contender = PCGrad(Training(spec, 2, torch.device("cpu")))
    contender.step(contender.training.steps[0])
    torch.testing.assert_close(contender.rows.sum(dim=0), summed, rtol=0, atol=1e-6 * float(summed.abs().max()))
    assert not torch.equal(contender.rows[0], contender.rows[1])


def test_gradnorm_weighs_tasks_by_the_norms_of_their_gradients_in_the_last_layer(spec: BranchSpec) -> None:
    pcgrad = PCGrad(Training(spec, 2, torch.device("cpu")))
    pcgrad.step(pcgrad.training.steps[0])
    last = {id(parameter) for parameter in pcgrad.training.last}
    sizes = [parameter.numel() for parameter in pcgrad.parameters]
    chosen = [index for index, parameter in enumerate(pcgrad.parameters) if id(parameter) in last]
    norms = [torch.cat([row.split(sizes)[index] for index in chosen]).norm() for row in pcgrad.rows]
    gradnorm = GradNorm(Training(spec, 2, torch.device("cpu")))
    gradnorm.step(gradnorm.training.steps[0])
    ones = torch.ones(2, dtype=torch.float64)
    torch.testing.assert_close(gradnorm.weights, balanced_weights(ones, torch.stack(norms), ones))
    assert not torch.equal(gradnorm.weights, ones)
