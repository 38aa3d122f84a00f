"""Adam's second moments at the end of a branch, for the merge operators that read them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from training.merge.second_moments import COLUMNS, ROWS
from training.run_directory import replacing


def save_second_moments(
    path: Path, form: Literal["full", "rank-1"], trainable: Mapping[str, Parameter], optimizer: Optimizer
) -> None:
    r"""Write Adam's raw running mean of squared gradients $v$, without its bias correction, in float32.

    ``full`` keeps $v$ under the parameter's name and in its shape. ``rank-1`` keeps of a matrix [n, m] its row sums
    $r$ [n] and column sums $c$ [m], summed in float64, from which $v_{ij} \approx r_i c_j / \sum_i r_i$ (arXiv
    2509.11167); other tensors as ``full`` does. Parameters that never had a gradient are left out.
    """
    contents: dict[str, Tensor] = {}
    for name, parameter in trainable.items():
        moments = optimizer.state.get(parameter, {}).get("exp_avg_sq")
        if moments is None:
            continue
        if form == "rank-1" and moments.dim() == 2:
            contents[name + ROWS] = moments.sum(1, dtype=torch.float64).float()
            contents[name + COLUMNS] = moments.sum(0, dtype=torch.float64).float()
        else:
            contents[name] = moments.float().contiguous()
    with replacing(path) as temporary:
        save_file(contents, temporary)
