"""Results with chosen numbers, as if they had been measured."""

from diagnostics.connectivity import Connectivity, LinearPath
from diagnostics.cost import Cost
from diagnostics.gain_check import GainCheck
from diagnostics.losses import Losses, ModelLoss
from training.evaluation.noise import Interval

COST = Cost(seconds=1.5, tokens=1200, products=0)


def around(value: float, half: float = 0.01) -> Interval:
    return Interval(value, value - half, value + half)


GAIN, BELOW_START = around(0.1), around(-0.2)


def losses(
    gain: Interval = GAIN,
    above_start: Interval = BELOW_START,
    macro_gain: Interval | None = None,
    macro_above_start: Interval | None = None,
    joint: bool = True,
    tasks: tuple[str, ...] = ("gcd", "lcm", "coin_flip"),
) -> Losses:
    """Merged loss 1.5; joint training 0.3 below it at equal tokens and not separated from it at equal steps."""
    minus = {"start": above_start, "branch-1": around(-0.1), "branch-2": around(-0.1)}
    if joint:
        minus |= {"joint": around(0.3), "joint-equal-steps": around(0.005)}
    values = {"start": 1.5 - above_start.value, "branch-1": 1.6, "branch-2": 1.6, "merged": 1.5}
    values |= {name: 1.5 - minus[name].value for name in minus if name.startswith("joint")}
    macro_minus = minus | {"start": macro_above_start or above_start}
    models = tuple(
        ModelLoss(
            model=name,
            loss=around(value, 0.05),
            macro_loss=around(value + 0.01, 0.05),
            tasks=tuple(value + number / 7 for number in range(len(tasks))),
        )
        for name, value in values.items()
    )
    return Losses(
        tasks=tasks,
        items=24,
        answer_tokens=1234,
        models=models,
        branch_average=around(1.5 + gain.value, 0.05),
        macro_branch_average=around(1.51 + gain.value, 0.05),
        branch_average_tasks=tuple(1.6 + number / 7 for number in range(len(tasks))),
        gain=gain,
        macro_gain=macro_gain or gain,
        task_gains=tuple(around(0.05 * (number - 1), 0.02) for number in range(len(tasks))),
        merged_minus=minus,
        macro_merged_minus=macro_minus,
        task_merged_minus={
            name: tuple(around(entry.value + number / 9, 0.02) for number in range(len(tasks)))
            for name, entry in minus.items()
        },
        cost=COST,
    )


def connectivity(*barriers: Interval) -> Connectivity:
    """The barriers of the paths branch-1 – branch-2, branch-1 – merged and branch-2 – merged, in this order."""
    ends = (("branch-1", "branch-2"), ("branch-1", "merged"), ("branch-2", "merged"))
    paths = tuple(
        LinearPath(
            ends=pair,
            losses=(1.6, 1.5, 1.6),
            excess=(around(0.0, 0.0), around(-0.1), around(0.0, 0.0)),
            barrier=barrier,
            dip=around(0.1),
        )
        for pair, barrier in zip(ends, barriers, strict=False)
    )
    return Connectivity(paths=paths, cost=COST)


def gain_check(predicted: float = 0.12, measured: float = 0.1, half: float = 0.03) -> GainCheck:
    return GainCheck(
        items=12,
        is_average=True,
        linear=around(0.0, 0.0),
        quadratic=around(predicted),
        cubic=around(0.0),
        rest=around(0.0),
        predicted=around(predicted),
        from_dips=around(0.11),
        measured=around(measured),
        difference=around(predicted - measured, half),
        second_difference=around(predicted),
        gram=((1.0, -1.0), (-1.0, 1.0)),
        stations=(0.0, 0.5, 1.0),
        lines=(),
        dips=(),
        cost=COST,
    )
