import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.arms.arm import Arm, Shares, Soup, Whole
from training.arms.names import check_arms, parse_arm, parse_arms
from training.config import Recipe
from training.conflicts.partition_rules import PartitionRule
from training.errors import InputError
from training.merge.operators.slerp import Slerp
from training.merge.operators.star import Star
from training.merge.operators.ties import Ties
from training.merge.operators.ties_mergekit import TiesMergekit
from training.merge.registry import OPERATORS
from training.mixture import Task

MERIT = PartitionRule("merit-1d", "pca")
GIVEN = PartitionRule("mine", "given")
RANDOM = PartitionRule("random-2-s3", "random", groups=2, index=3)


@pytest.mark.parametrize(
    ("name", "arm"),
    [
        ("base", Arm("base", "base")),
        ("start", Arm("start", "start")),
        ("joint", Arm("joint", Whole())),
        ("joint-0.5", Arm("joint-0.5", Whole(epochs=0.5))),
        ("joint-2", Arm("joint-2", Whole(epochs=2.0))),
        ("joint-equal-steps-4", Arm("joint-equal-steps-4", Whole(batch=4))),
        ("joint-stratified-merit-1d", Arm("joint-stratified-merit-1d", Whole(strata=MERIT))),
        ("joint-stratified-mine", Arm("joint-stratified-mine", Whole(strata=GIVEN))),
        ("joint@0.8", Arm("joint@0.8", Whole(), scale=0.8)),
        ("joint-2@fitted", Arm("joint-2@fitted", Whole(epochs=2.0), scale="fitted")),
        ("merit-1d", Arm("merit-1d", MERIT)),
        ("merit-1d@2", Arm("merit-1d@2", MERIT, scale=2.0)),
        ("merit-3d-uniform", Arm("merit-3d-uniform", PartitionRule("merit-3d", "pca", depth=3), "uniform")),
        ("raw-2d", Arm("raw-2d", PartitionRule("raw-2d", "pca", matrix="gram", depth=2))),
        ("merit-1d-swap", Arm("merit-1d-swap", PartitionRule("merit-1d-swap", "pca", swap=True))),
        ("random-12", Arm("random-12", PartitionRule("random-12", "random", groups=12))),
        ("random-2-s3", Arm("random-2-s3", RANDOM)),
        (
            "kmeans-balanced-3",
            Arm("kmeans-balanced-3", PartitionRule("kmeans-balanced-3", "kmeans-balanced", groups=3)),
        ),
        ("mine", Arm("mine", GIVEN)),
        ("mine-uniform", Arm("mine-uniform", GIVEN, "uniform")),
        ("mine-uniform@0.5", Arm("mine-uniform@0.5", GIVEN, "uniform", scale=0.5)),
        ("iid-4", Arm("iid-4", Shares(4), "uniform")),
        ("soup-3", Arm("soup-3", Soup(3), "uniform")),
        ("soup-split-3", Arm("soup-split-3", Soup(3, split=True), "uniform")),
        ("soup-2+slerp", Arm("soup-2+slerp", Soup(2), "uniform", Slerp())),
        ("iid-2+fitted", Arm("iid-2+fitted", Shares(2), "fitted")),
        ("merit-1d+fitted@fitted", Arm("merit-1d+fitted@fitted", MERIT, "fitted", scale="fitted")),
        ("random-2-s3+ties", Arm("random-2-s3+ties", RANDOM, operator=Ties())),
        ("mine+ties-mergekit@1.5", Arm("mine+ties-mergekit@1.5", GIVEN, operator=TiesMergekit(), scale=1.5)),
    ],
)
def test_every_form_of_arm_means_what_it_says(name: str, arm: Arm) -> None:
    assert parse_arm(name, {"mine": []}) == arm


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Joint",
        "joint-",
        "joint--1",
        "joint-1e3",
        "joint-equal-steps-1",
        "joint-stratified-",
        "joint-stratified-joint",
        "joint-stratified-soup-2",
        "joint-stratified-merit-1d-uniform",
        "mine",
        "-uniform",
        "+ties",
        "@0.5",
        "joint-0",
        "joint-0.0",
        "merit-0d",
        "merit-12d",
        "merit-d",
        "raw-0d",
        "random-1",
        "random-0",
        "random-2-s",
        "iid-1",
        "iid",
        "soup-1",
        "soup-split-1",
        "soup-split",
        "merit-1d ",
        "random-2-uniform-uniform",
        "merit-1d+ties-uniform+ties",
    ],
)
def test_an_arm_that_is_none_is_refused_by_name(name: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_arm(name, {})
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("base-uniform", "list it by that name alone"),
        ("start@0.5", "list it by that name alone"),
        ("base+ties", "list it by that name alone"),
        ("joint-uniform", "one branch and nothing to merge"),
        ("joint-equal-steps-2-uniform", "one branch and nothing to merge"),
        ("joint+ties", "one branch and nothing to merge"),
        ("joint+", "one branch and nothing to merge"),
        ("soup-2-uniform", "drop '-uniform'"),
        ("iid-2-uniform", "drop '-uniform'"),
        ("merit-1d-uniform+ties", "keep '-uniform' or '[+]ties'"),
        ("merit-1d-uniform+linear", "keep '-uniform' or '[+]linear'"),
        ("merit-1d+linear", "'linear' is no merge operator; choose one of fitted, task-arithmetic"),
        ("merit-1d+", "'' is no merge operator"),
        ("merit-1d+ties-", "'ties-' is no merge operator"),
        ("merit-1d+iso", "'iso' is no merge operator"),
        ("merit-1d+fitted-x", "'fitted-x' is no merge operator"),
        ("merit-1d+ties+ties", "'ties[+]ties' is no merge operator"),
        ("merit-1d@", "'' is no scale"),
        ("merit-1d@-1", "'-1' is no scale"),
        ("merit-1d@1e3", "'1e3' is no scale"),
        ("merit-1d@inf", "'inf' is no scale"),
        ("merit-1d@0.5@0.5", "is no scale"),
        ("merit-1d@0.8+ties", "is no scale"),
        ("merit-1d@0.0", "would be the start itself"),
        ("merit-1d+ties@1.0", "would be 'merit-1d[+]ties' itself"),
        ("merit-1d@1000", "'1000' is no scale"),
        ("soup-10000", "at most 9999"),
        ("random-10000000000", "at most 9999"),
    ],
)
def test_an_ending_that_does_not_fit_is_refused_with_a_remedy(name: str, remedy: str) -> None:
    with pytest.raises(InputError, match=remedy) as caught:
        parse_arm(name, {})
    assert repr(name) in str(caught.value)


STEMS = ("merit-2d", "raw-1d-swap", "random-2-s3", "kmeans-3", "mine", "iid-4", "soup-2", "soup-split-2")


@settings(max_examples=50)
@given(
    st.sampled_from(STEMS),
    st.sampled_from(["", "+fitted", *(f"+{name}" for name in OPERATORS if name != "linear")]),
    st.sampled_from(["", "@0.8", "@fitted"]),
)
def test_endings_change_the_merge_and_never_the_branches(stem: str, operator: str, scale: str) -> None:
    arm = parse_arm(stem + operator + scale, {"mine": []})
    plain = parse_arm(stem, {"mine": []})
    assert arm.branches_name == stem == plain.branches_name
    assert (arm.branches, arm.rule, arm.partition) == (plain.branches, plain.rule, plain.partition)
    assert f"+{arm.operator.name}" == (operator if operator not in ("", "+fitted") else "+linear")
    assert (arm.scale is None) == (scale == "")
    fits = [stem + operator] * (operator == "+fitted") + [stem + operator + scale] * (scale == "@fitted")
    assert arm.fits == tuple(fits)
    assert arm.is_average == (operator + scale == "")
    assert arm.reads_second_moments("adamw") == (operator in ("+ota", "+ffg", "+drift-corrected"))


@pytest.mark.parametrize("name", ["soup-" + "9" * 5000, "joint-" + "9" * 400, "joint@0." + "1" * 300, "soup-\u0663"])
def test_a_name_that_cannot_be_that_of_a_file_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no usable name; write it in at most 200 ASCII characters") as caught:
        parse_arm(name, {})
    assert len(str(caught.value)) < 200


def test_a_stratified_arm_needs_its_rule_but_has_one_branch() -> None:
    arm = parse_arm("joint-stratified-merit-1d@0.8", {})
    assert (arm.rule, arm.partition, arm.untrained) == (MERIT, None, None)
    assert parse_arm("joint", {}).rule is None
    assert parse_arm("base", {}).untrained == "base"


# --- the arms of a recipe ---------------------------------------------------------------------------------------------


def recipe(**settings: object) -> Recipe:
    return Recipe.model_validate({"mixture": {"tasks": ["reasoning_gym:gcd"]}} | settings)


@pytest.mark.parametrize(
    "name",
    [
        "joint",
        "merit-1d",
        "random-2-s3",
        "mine-uniform",
        "soup-2",
        "iid-3",
        "joint-stratified-mine",
        "soup-1",
        "joint-0",
    ],
)
def test_a_split_cannot_take_a_name_that_means_another_arm(name: str) -> None:
    with pytest.raises(InputError, match=name):
        parse_arms(recipe(splits={name: [["a"], ["b"]]}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("random-2", "random-2-s0"),
        ("random-2+ties", "random-02+ties"),
        ("joint", "joint-1.0"),
        ("joint-stratified-random-2", "joint-stratified-random-2-s0"),
        ("merit-1d@0.5", "merit-1d@0.50"),
        ("merit-1d+ties", "merit-1d+mine"),
    ],
)
def test_one_arm_by_two_names_would_count_twice_and_is_refused(one: str, other: str) -> None:
    own = {"mine": {"operator": "ties"}}
    parse_arms(recipe(arms=[one], operators=own))
    with pytest.raises(InputError, match="are the same arm; drop one") as caught:
        parse_arms(recipe(arms=["start", one, "soup-2", other], operators=own))
    assert repr(one) in str(caught.value)
    assert repr(other) in str(caught.value)


def test_arms_that_differ_in_anything_but_their_name_are_different() -> None:
    arms = ["merit-1d", "raw-1d", "merit-1d-swap", "merit-1d-uniform", "random-2", "random-2-s1", "kmeans-2", "worst-2"]
    arms += ["mine", "yours", "joint-stratified-mine", "joint-stratified-yours", "joint-equal-steps-2", "joint-2"]
    arms += ["iid-2", "soup-2", "soup-split-2", "soup-2+ties", "soup-2+sparse", "soup-2+fitted", "soup-2@fitted"]
    splits = {"mine": [["a"], ["b"]], "yours": [["b"], ["a"]]}
    own = {"sparse": {"operator": "ties", "density": 0.1}}
    mixture = {"tasks": ["reasoning_gym:gcd"], "validation": 8}
    assert len(parse_arms(recipe(arms=arms, splits=splits, operators=own, mixture=mixture))) == len(arms)


@pytest.mark.parametrize("name", ["merit-1d+ota", "soup-2+ffg@0.5"])
def test_arms_that_read_adams_moments_are_refused_where_there_is_no_adam(name: str) -> None:
    arms = ["joint", "merit-1d+ties", name]
    assert [arm.operator.needs_second_moments for arm in parse_arms(recipe(arms=arms))] == [False, False, True]
    with pytest.raises(InputError, match="'sgd'") as caught:
        parse_arms(recipe(arms=arms, branch={"optimizer": "sgd"}))
    assert repr(name) in str(caught.value)
    parse_arms(recipe(arms=arms[:2], branch={"optimizer": "sgd"}))


def tasks(*rows: int) -> list[Task]:
    names = "abcdefgh"[: len(rows)]
    return [Task(name, Path(name), {}, "exact", {}, {"train": count}) for name, count in zip(names, rows, strict=True)]


@pytest.mark.parametrize("name", ["merit-2d", "joint-stratified-merit-2d", "merit-2d+ties@0.5"])
def test_arms_over_more_groups_than_tasks_are_refused_before_anything_is_computed(name: str) -> None:
    arms = [parse_arm(name, {})]
    check_arms(arms, recipe(), tasks(9, 9, 9, 9))
    with pytest.raises(InputError, match="4 groups of 3 tasks"):
        check_arms(arms, recipe(), tasks(9, 9, 9))


def test_given_groups_are_checked_whichever_arm_uses_them() -> None:
    splits = {"mine": [["a"], ["b", "z"]]}
    for name in ("mine", "joint-stratified-mine"):
        with pytest.raises(InputError, match="'z'"):
            check_arms([parse_arm(name, splits)], recipe(splits=splits), tasks(9, 9))


def test_a_task_with_fewer_rows_than_shares_is_named() -> None:
    arms = [parse_arm("iid-4", {})]
    check_arms(arms, recipe(), tasks(9, 4, 9))
    with pytest.raises(InputError, match="'iid-4' needs 4 rows of every task and task 'b' has 3; add rows"):
        check_arms(arms, recipe(), tasks(9, 3, 9))


def test_an_arm_that_is_fitted_needs_validation_rows() -> None:
    for name in ("merit-1d+fitted", "joint@fitted"):
        with pytest.raises(InputError, match=f"{re.escape(repr(name))} is fitted on validation rows"):
            parse_arms(recipe(arms=[name]))
        parse_arms(recipe(arms=[name], mixture={"tasks": ["reasoning_gym:gcd"], "validation": 8}))


def test_a_recipe_gives_operators_settings_and_names_of_its_own() -> None:
    own = {"sparse": {"operator": "ties", "density": 0.05}, "star": {"kept": 0.9}}
    arms = parse_arms(recipe(arms=["merit-1d+sparse", "merit-1d+star", "merit-1d+ties"], operators=own))
    assert [arm.operator for arm in arms] == [Ties(density=0.05), Star(kept=0.9), Ties()]
    for wrong, message in [
        ({"sparse": {"operator": "tise"}}, "operators.sparse: there is no merge operator 'tise'"),
        ({"sparse": {}}, "operators.sparse: there is no merge operator 'sparse'"),
        ({"sparse": {"operator": "linear"}}, "operators.sparse: 'linear' is no operator"),
        ({"ties": {"densty": 0.1}}, "operators.ties: .*unknown key densty"),
        ({"ties": {"operator": "dare"}}, "operators.ties: 'ties' means another merge already"),
        ({"fitted": {"operator": "ties"}}, "operators.fitted: 'fitted' means another merge already"),
        ({"fitted": {}}, "'fitted' is no operator"),
        ({"linear": {}}, "'linear' is no operator"),
        ({"drift-corrected": {"drift": "mine.safetensors"}}, "operators.drift-corrected: .*remove 'drift'"),
    ]:
        with pytest.raises(InputError, match=message):
            parse_arms(recipe(operators=wrong))


def test_factors_for_another_number_of_branches_are_refused() -> None:
    made = recipe(arms=["merit-1d+mine"], operators={"mine": {"operator": "task-arithmetic", "factors": [0.5, 0.25]}})
    check_arms(parse_arms(made), made, tasks(9, 9, 9, 9))
    other = made.model_copy(update={"arms": ["soup-3+mine"]})
    with pytest.raises(
        InputError, match=r"'soup-3\+mine' has 3 branches and its operator 2 factors; give one for each"
    ):
        check_arms(parse_arms(other), other, tasks(9, 9))


def test_an_operator_of_two_branches_is_refused_on_more() -> None:
    check_arms([parse_arm("merit-1d+slerp", {})], recipe(), tasks(9, 9, 9, 9))
    for name in ("merit-2d+slerp", "soup-3+slerp", "random-3+slerp"):
        with pytest.raises(InputError, match=r"interpolates between two branches and has [34]; drop the arm"):
            check_arms([parse_arm(name, {})], recipe(), tasks(9, 9, 9, 9))
