"""The names of arms: which arm each means, and which a recipe may not have."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from types import MappingProxyType
from typing import Literal

from training.arms.arm import PAPERS_MERGE, Arm, Branches, Shares, Soup, Whole
from training.config import Recipe
from training.conflicts.partition_rules import RULE_FORMS, PartitionRule, at_least, parse_rule
from training.errors import InputError
from training.merge.operator import Operator
from training.merge.operators.drift_corrected import DriftCorrected
from training.merge.operators.linear import Linear
from training.merge.operators.slerp import Slerp
from training.merge.operators.task_arithmetic import TaskArithmetic
from training.merge.registry import OPERATORS, make_operator
from training.mixture import Task
from training.settings_file import SHOWN

FORMS = (
    "base, start, joint, joint-EPOCHS, joint-equal-steps-K, joint-stratified-RULE, iid-K, soup-M, soup-split-M, or a "
    f"RULE: {RULE_FORMS}"
)
ENDINGS = "-uniform, +fitted or +OPERATOR where branches are merged, then @NUMBER or @fitted"
LONGEST = 200
"""Characters of an arm's name, which is that of its files too."""


def parse_arms(recipe: Recipe) -> list[Arm]:
    """The arms of a recipe, in its order.

    Raises:
        InputError: an unknown arm, one arm by two names, a split or an operator whose name means another already, a
            setting that an operator does not have, an arm that reads Adam's second moments where branches are trained
            without Adam, or one that is fitted where there are no validation rows.
    """
    for name in recipe.splits:
        if name.endswith("-uniform") or name.startswith("joint-stratified-") or _is_built_in(name):
            raise InputError(f"splits.{name}: {name!r} means another arm already; give the split another name")
    operators = _own_operators(recipe)
    arms = [parse_arm(name, recipe.splits, operators) for name in recipe.arms]
    for arm, other in combinations(arms, 2):
        if _nameless(arm) == _nameless(other):
            raise InputError(f"arms {arm.name!r} and {other.name!r} are the same arm; drop one")
    for arm in arms:
        if arm.fits and recipe.mixture.validation == 0:
            raise InputError(
                f"arm {arm.name!r} is fitted on validation rows and mixture.validation is 0; set it to 8 rows a "
                "task or more"
            )
        if arm.operator.needs_second_moments and recipe.branch.optimizer != "adamw":
            raise InputError(
                f"arm {arm.name!r} reads Adam's second moments, which branch.optimizer = {recipe.branch.optimizer!r} "
                "does not have; train with 'adamw' or drop the arm"
            )
    return arms


def _is_built_in(name: str) -> bool:
    try:
        return _parse_branches(name, {}) is not None
    except InputError:  # a number that is none for an arm of this form
        return True


def _nameless(arm: Arm) -> Arm:
    """What an arm is, whatever it is called: ``random-2`` and ``random-2-s0`` are one."""
    branches, rule = arm.branches, arm.rule
    if rule is not None and rule.kind != "given":
        rule = replace(rule, name="")
        branches = replace(branches, strata=rule) if isinstance(branches, Whole) else rule
    return replace(arm, name="", branches=branches)


def _own_operators(recipe: Recipe) -> dict[str, Operator]:
    """The operators that the recipe names or gives settings of its own."""
    operators = {}
    for name, table in recipe.operators.items():
        settings = dict(table)
        operator = str(settings.pop("operator", name))
        if operator != name and (name in OPERATORS or name == "fitted"):
            raise InputError(f"operators.{name}: {name!r} means another merge already; give the table another name")
        if operator in ("fitted", Linear.name):
            raise InputError(f"operators.{name}: {operator!r} is no operator of an arm; remove the table")
        try:
            made = make_operator(operator, settings)
        except InputError as error:
            raise InputError(f"operators.{name}: {error}") from None
        if isinstance(made, DriftCorrected) and made.drift is not None:
            raise InputError(f"operators.{name}: the run itself measures the drift of an arm; remove 'drift'")
        operators[name] = made
    return operators


def parse_arm(name: str, splits: Mapping[str, object], operators: Mapping[str, Operator] = MappingProxyType({})) -> Arm:
    """The arm of this name; merged by tokens where tasks are divided, equally where every branch has all of them.

    Args:
        name: as in the recipe.
        splits: partitions of the user's own, by name.
        operators: operators with settings of the user's own, by name; the others have those of their papers.

    Raises:
        InputError: no arm has it.

    >>> parse_arm("merit-2d-uniform", {}).partition.depth
    2
    """
    if len(name) > LONGEST or not name.isascii():
        raise InputError(f"arm {name[:SHOWN]!r} is no usable name; write it in at most {LONGEST} ASCII characters")
    merged, at, scale = name.partition("@")
    stem, plus, operator = merged.partition("+")
    uniform = stem.endswith("-uniform")
    branches = _parse_branches(stem.removesuffix("-uniform"), splits)
    if branches is None:
        raise InputError(f"unknown arm {name!r}; arms are {FORMS}; each may end in {ENDINGS}")
    if isinstance(branches, str) and name != branches:
        raise InputError(f"arm {name!r}: nothing is trained for {branches!r}; list it by that name alone")
    if isinstance(branches, Whole) and (uniform or plus):
        raise InputError(f"arm {name!r} has one branch and nothing to merge; drop what follows the branch's name")
    if uniform and plus:
        raise InputError(f"arm {name!r} names two merges; keep '-uniform' or {plus + operator!r}")
    if uniform and not isinstance(branches, PartitionRule):
        raise InputError(f"arm {name!r} is merged with equal weights anyway; drop '-uniform'")
    weights = "uniform" if uniform or isinstance(branches, Shares | Soup) else "tokens"
    merge = PAPERS_MERGE
    if operator == "fitted":
        weights = "fitted"
    elif plus:
        merge = _parse_operator(operator, operators, name)
    return Arm(name, branches, weights, merge, _parse_scale(scale, name) if at else None)


def _parse_branches(name: str, splits: Mapping[str, object]) -> Branches | None:
    if name == "base" or name == "start":
        return name
    if name == "joint":
        return Whole()
    if found := re.fullmatch(r"joint-equal-steps-(\d+)", name):
        return Whole(batch=at_least(2, found[1], name))
    if found := re.fullmatch(r"joint-(\d+(?:\.\d+)?)", name):
        if float(found[1]) == 0:
            raise InputError(f"arm {name!r} would train for no time; give a positive number of epochs")
        return Whole(epochs=float(found[1]))
    if found := re.fullmatch(r"joint-stratified-(.+)", name):
        rule = parse_rule(found[1], splits)
        return None if rule is None else Whole(strata=rule)
    if found := re.fullmatch(r"iid-(\d+)", name):
        return Shares(at_least(2, found[1], name))
    if found := re.fullmatch(r"soup-(split-)?(\d+)", name):
        return Soup(at_least(2, found[2], name), split=found[1] is not None)
    return parse_rule(name, splits)


def _parse_operator(text: str, own: Mapping[str, Operator], name: str) -> Operator:
    if text in own:
        return own[text]
    if text not in OPERATORS or text == Linear.name:
        known = ", ".join(dict.fromkeys(("fitted", *own, *OPERATORS)))
        raise InputError(
            f"arm {name!r}: {text!r} is no merge operator; choose one of {known.replace(f'{Linear.name}, ', '')}"
        )
    return make_operator(text, {})


def _parse_scale(text: str, name: str) -> float | Literal["fitted"]:
    if text == "fitted":
        return text
    if not re.fullmatch(r"\d{1,3}(\.\d+)?", text):
        raise InputError(f"arm {name!r}: {text!r} is no scale; end it in @fitted or a positive number such as @0.8")
    if float(text) == 0:
        raise InputError(f"arm {name!r} would be the start itself; list 'start', or give a positive scale")
    if float(text) == 1:
        raise InputError(f"arm {name!r} would be {name.partition('@')[0]!r} itself; list that, or give another scale")
    return float(text)


def check_arms(arms: Sequence[Arm], recipe: Recipe, tasks: Sequence[Task]) -> None:
    """Refuse arms that cannot be made of these tasks, before anything is computed.

    Raises:
        InputError: a rule that cannot divide the tasks, a task with fewer rows than there are shares of it, or an
            operator of another number of branches.
    """
    for arm in arms:
        if arm.rule is not None:
            arm.rule.check(recipe.splits.get(arm.rule.name, []), [task.name for task in tasks])
        if isinstance(arm.operator, Slerp) and (branches := _count(arm, recipe)) != 2:
            raise InputError(f"arm {arm.name!r} interpolates between two branches and has {branches}; drop the arm")
        factors = len(arm.operator.factors) if isinstance(arm.operator, TaskArithmetic) else 0
        if factors and (branches := _count(arm, recipe)) != factors:
            raise InputError(
                f"arm {arm.name!r} has {branches} branches and its operator {factors} factors; give one for each"
            )
        if isinstance(arm.branches, Shares):
            small = min(tasks, key=lambda task: task.counts["train"])
            if small.counts["train"] < arm.branches.count:
                raise InputError(
                    f"arm {arm.name!r} needs {arm.branches.count} rows of every task and task {small.name!r} has "
                    f"{small.counts['train']}; add rows or name an arm with fewer branches"
                )


def _count(arm: Arm, recipe: Recipe) -> int:
    """How many branches an arm that merges any has."""
    plan = arm.branches
    if isinstance(plan, Shares | Soup):
        return plan.count
    assert isinstance(plan, PartitionRule), "one branch is not merged"
    return plan.count(recipe.splits.get(plan.name, []))
