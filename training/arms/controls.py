"""The controls of an arm: those arms of its run that could refute a claim for it."""

from collections.abc import Sequence

from training.arms.arm import Arm, Shares, Soup, Whole
from training.branches.spec import BranchSpec


def controls(arm: Arm, specs: Sequence[BranchSpec], arms: Sequence[Arm]) -> list[str]:
    """Names of the controls of ``arm`` among ``arms``, in their order.

    Plain joint training is one; so are the same branches merged plainly, the same merge unscaled, as many steps (for a
    soup of whole runs as many epochs), and batches stratified over its groups. Where the arm is scaled or fitted, so
    are those of one branch with that ending: how far along the displacement may be all there is to it. What divides
    the tasks has as many random groups, and as many shares of every task, for controls, merged alike.

    Args:
        arm: any arm.
        specs: of its branches.
        arms: of the run.
    """
    if arm.untrained:
        return []
    if arm.branches == Whole() and arm.scale is None:
        return [other.name for other in arms if other.untrained == "start"]
    groups = max(len(specs), len(specs[0].strata))
    return [other.name for other in arms if other.name != arm.name and _is_control(other, arm, groups)]


def _is_control(other: Arm, arm: Arm, groups: int) -> bool:
    if other.name in (arm.branches_name, arm.merged_name):
        return True
    if isinstance(other.branches, Whole):
        return other.branches in _of_one_branch(arm, groups) and other.scale in _scales(arm)
    return _divides_as_finely(other, arm, groups) and _merged_alike(other, arm)


def _of_one_branch(arm: Arm, groups: int) -> list[Whole]:
    """Joint training, as it is, of the arm's size, and over its groups."""
    whole_budgets = isinstance(arm.branches, Soup) and not arm.branches.split
    found = [Whole(), Whole(epochs=groups) if whole_budgets else Whole(batch=groups)]
    if arm.partition is not None and arm.partition.kind != "random":
        found.append(Whole(strata=arm.partition))
    return found


def _scales(arm: Arm) -> tuple[float | str | None, ...]:
    """Scales of joint training that stand beside the arm; a fit of its weights may have found no more than a scale."""
    return (None, arm.scale, "fitted") if arm.weights == "fitted" else (None, arm.scale)


def _divides_as_finely(other: Arm, arm: Arm, groups: int) -> bool:
    """Whether both divide the data into as many parts, the other by chance: the tasks, or the rows of every task."""
    if arm.partition is None:
        return False
    if other.partition is not None:
        kinds = (other.partition.kind == "random", arm.partition.kind == "random")
        return kinds == (True, False) and other.partition.groups == groups
    return other.branches == Shares(groups)


def _merged_alike(other: Arm, arm: Arm) -> bool:
    """Whether weights, operator and scale are the same; shares, alike in size, are weighed equally by nature."""
    same_weights = other.weights == arm.weights
    if isinstance(other.branches, Shares):
        same_weights = (other.weights == "fitted") == (arm.weights == "fitted")
    return same_weights and (other.operator, other.scale) == (arm.operator, arm.scale)
