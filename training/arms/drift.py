r"""What takes a merge back towards joint training: the drift between branches, measured in one more round of gradients.

Branches that descend alone for $\tau$ steps of size η and are averaged end apart from joint descent by
$\tfrac12\eta^2\tau(\tau-1)\,\mathrm{Cov}_k(H_k, g_k)$ to leading order (theorem C of ``merit_theory.merged_loss``), and
$\sum_k p_k\,[g_k(\theta_k) - g_k(\bar\theta)]$ is $-\eta\tau$ times the same covariance. So under gradient descent the
mean plus

$$c = \tfrac12 \sum_k p_k \Big(R_k - \frac{\sum_t r_{kt}^2}{R_k}\Big) P_k\,[g_k(\theta_k) - g_k(\bar\theta)], \qquad
r_{kt} = \eta_t \min(1, \text{clip}/\|g_{kt}\|), \quad R_k = \sum_t r_{kt},$$

has an error of higher order; P is one, and $r_{kt}$ is what step t of branch k multiplied its gradient by, over one
minus the momentum. Under Adam P is what the branch divided its steps by at the end,
$1/(\sqrt{v_k / (1 - \beta_2^\tau)} + \epsilon)$: a linearisation, for which nothing is proved, and which leaves out
weight decay and the change of v over training.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.branches.examples import branch_examples
from training.branches.spec import BranchSpec, load_spec
from training.config import StartSettings
from training.errors import InputError
from training.interruption import Interrupted
from training.keyed_tensors import save_keyed_tensors, stored_tensors_key
from training.merge.second_moments import SecondMoments, open_second_moments
from training.model.batching import Batch, Example, micro_batches
from training.model.load import autocast, context_length, load_tokenizer
from training.model.loss import answer_losses, pack_if_possible
from training.model.network import Network, Point
from training.run_directory import BranchDirectory, RunDirectory, read_json


def measure_drift(
    root: Path,
    name: str,
    branches: Sequence[str],
    weights: Sequence[float],
    key: str,
    start: StartSettings,
    device: str,
    report: Callable[[int], None],
    stopping: Callable[[], bool],
) -> None:
    """Measure the correction of the branches' weighted mean and write ``drifts/NAME.safetensors`` of the run ``root``.

    Each branch's training rows are seen twice, at the branch's end and at the mean. Nothing happens where the file
    stands under the same ``key``. Besides the network, one tensor per trained parameter is held.

    Raises:
        InputError: branches whose files changed, or a gradient that is not finite.
        Interrupted: ``stopping`` said so.
    """
    run = RunDirectory(root)
    path = run.drift(name)
    if stored_tensors_key(path) == key:
        return
    began = time.perf_counter()
    folders = {hashed: BranchDirectory(run.branch(hashed)) for hashed in branches}
    specs = {hashed: load_spec(folder.spec) for hashed, folder in folders.items()}
    mean = dict(zip(branches, weights, strict=True))
    models = {hashed: folder.model for hashed, folder in folders.items()}
    travels = {hashed: half_travel(read_json(folders[hashed].done), spec) for hashed, spec in specs.items()}
    correction: dict[str, Tensor] = {}
    with Network(models, start.precision, torch.device(device)) as network, ExitStack() as opened:
        tokenizer = load_tokenizer(run.start)
        limit = context_length(network.model.config, start.max_length)
        pack_if_possible(network.model)
        with network.differentiated(start.trainable) as parameters:
            for hashed, spec in specs.items():
                moments = None
                if spec.settings.optimizer == "adamw":
                    moments = opened.enter_context(open_second_moments(models[hashed]))
                parts = branch_examples(spec, run.mixture, tokenizer, limit)
                examples = [example for part in parts.values() for example in part]
                batches = list(micro_batches(examples, spec.settings.micro_batch_tokens))
                points: tuple[tuple[Point, float], ...] = (({hashed: 1.0}, 1.0), (mean, -1.0))
                for point, sign in points:
                    network.move_to(point)
                    _gradient(network, batches, examples, start, report, stopping)
                    factor = sign * mean[hashed] * travels[hashed]
                    for parameter, value in parameters.items():
                        if value.grad is None:
                            continue
                        added = factor * value.grad
                        if moments is not None:
                            added *= _preconditioner(spec, moments, parameter, value)
                        correction[parameter] = correction[parameter] + added if parameter in correction else added
    for parameter, value in correction.items():
        if not torch.isfinite(value).all():
            raise InputError(f"the drift of {parameter!r} in arm {name} is not finite; lower branch.learning_rate")
    save_keyed_tensors(path, key, correction, time.perf_counter() - began)


def half_travel(done: Mapping[str, Any], spec: BranchSpec) -> float:
    """Half of what the steps multiplied gradients by, summed, less their weighted mean; ½η(τ-1) where all are η.

    Args:
        done: of the branch; sums over its steps stand there under a seal, the steps themselves in a log without one.
        spec: of the branch.

    Raises:
        InputError: the branch was trained before the sums were kept.
    """
    if "reach" not in done:
        raise InputError(
            f"branch {spec.hash} was trained by an earlier version and does not say how far its steps reached; remove "
            f"branches/{spec.hash} and run the same command again"
        )
    travel = done["reach"] - done["squared_reach"] / done["reach"]
    return 0.5 * travel / (1 - spec.settings.momentum)


def _gradient(
    network: Network,
    batches: Sequence[Batch],
    examples: Sequence[Example],
    start: StartSettings,
    report: Callable[[int], None],
    stopping: Callable[[], bool],
) -> None:
    """Leave the gradient of the mean answer loss in the network's parameters."""
    network.model.zero_grad(set_to_none=True)
    answer_tokens = sum(example.answer_tokens for example in examples)
    for batch in batches:
        if stopping():
            raise Interrupted("the drift pass was stopped")
        with autocast(start.precision, network.model.device):
            losses, _ = answer_losses(network.model, batch, start.objective)
        (losses.sum() / answer_tokens).backward()
        report(int(batch.lengths.sum()))


def _preconditioner(spec: BranchSpec, moments: SecondMoments, name: str, parameter: Tensor) -> Tensor:
    values = np.empty(parameter.numel(), np.float64 if parameter.dtype == torch.float64 else np.float32)
    moments.read(name, 0, values)
    unbiased = torch.from_numpy(values).view(parameter.shape) / (1 - spec.settings.beta2**spec.steps)
    return (1 / (unbiased.sqrt() + spec.settings.epsilon)).to(parameter.device)
