"""Every merge operator by its name."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from training.errors import InputError
from training.merge.operator import Operator
from training.merge.operators.dare import Dare
from training.merge.operators.dare_ties import DareTies
from training.merge.operators.drift_corrected import DriftCorrected
from training.merge.operators.ffg import Ffg
from training.merge.operators.iso_c import IsoC
from training.merge.operators.iso_cts import IsoCts
from training.merge.operators.linear import Linear
from training.merge.operators.model_stock import ModelStock
from training.merge.operators.ota import Ota
from training.merge.operators.slerp import Slerp
from training.merge.operators.star import Star
from training.merge.operators.task_arithmetic import TaskArithmetic
from training.merge.operators.ties import Ties
from training.merge.operators.ties_mergekit import TiesMergekit
from training.merge.operators.tsv_m import TsvM
from training.settings_file import first_problem

OPERATORS: Mapping[str, type[Operator]] = {
    operator.name: operator
    for operator in (
        Linear,
        TaskArithmetic,
        DriftCorrected,
        Ties,
        TiesMergekit,
        Dare,
        DareTies,
        Slerp,
        ModelStock,
        IsoC,
        IsoCts,
        Star,
        TsvM,
        Ota,
        Ffg,
    )
}


def make_operator(name: str, settings: Mapping[str, Any]) -> Operator:
    """The operator ``name`` with its settings.

    Raises:
        InputError: there is no such operator, or it has no such setting.
    """
    if name not in OPERATORS:
        raise InputError(f"there is no merge operator {name!r}; choose one of {', '.join(OPERATORS)}")
    try:
        return OPERATORS[name].model_validate(dict(settings))
    except ValidationError as error:
        raise InputError(f"merge operator {name}: {first_problem(error, name)}") from None
