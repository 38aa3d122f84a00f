"""Which arms of a run could refute a claim for which, by kind."""

import pytest

from tests.training.branch_specs import make_spec
from training.arms.arm import Arm, Shares, Soup, Whole
from training.arms.controls import controls
from training.arms.names import parse_arm
from training.branches.spec import BranchSpec

SPLITS = {"mine": [["a"], ["b"]]}
JOINT = (
    "joint",
    "joint-2",
    "joint-equal-steps-2",
    "joint-equal-steps-4",
    "joint-stratified-merit-1d",
    "joint-stratified-random-2",
)
SCALED_JOINT = tuple(f"{arm}@{scale}" for arm in JOINT for scale in ("0.8", "fitted"))
MERGED = ("merit-1d", "random-2", "random-2-s1", "random-20", "random-4", "iid-2", "iid-4", "soup-2", "soup-split-2")
ENDINGS = ("", "@0.8", "@fitted", "+ties", "+dare", "+fitted", "+ties@0.8")
DIVIDED = ("merit-1d", "random-2", "random-4")
NAMES = (
    "base",
    "start",
    *JOINT,
    *SCALED_JOINT,
    *(arm + ending for arm in MERGED for ending in ENDINGS),
    *(f"{arm}-uniform{ending}" for arm in DIVIDED for ending in ("", "@0.8")),
)
RUN = [parse_arm(name, SPLITS) for name in NAMES]


def specs_of(arm: Arm) -> list[BranchSpec]:
    match arm.branches:
        case Whole(strata=None):
            return [make_spec()]
        case Whole():
            return [make_spec(strata=(("a",), ("b",)))]
        case Shares(count) | Soup(count):
            return [make_spec()] * count
    return [make_spec()] * (arm.partition.count(SPLITS.get(arm.name, [])) if arm.partition else 0)


def controls_of(name: str, among: tuple[str, ...] = NAMES) -> set[str]:
    arm = parse_arm(name, SPLITS)
    return set(controls(arm, specs_of(arm), [parse_arm(other, SPLITS) for other in among]))


SIZE = {"joint", "joint-equal-steps-2"}
STRATA = {*SIZE, "joint-stratified-merit-1d"}
CHANCE = {"random-2", "random-2-s1"}


def ending(names: set[str], with_: str) -> set[str]:
    return {name + with_ for name in names}


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        # What is trained: chance in the tasks, no division of them, one branch.
        ("merit-1d", STRATA | CHANCE | {"iid-2"}),
        ("random-2-s1", SIZE | {"iid-2"}),
        ("conflict-induced-2", SIZE | CHANCE | {"iid-2"}),
        ("mine", SIZE | CHANCE | {"iid-2"}),
        ("merit-2d", {"joint", "joint-equal-steps-4", "random-4", "iid-4"}),
        ("iid-2", SIZE),
        ("soup-2", {"joint", "joint-2"}),
        ("soup-split-2", SIZE),
        ("joint-equal-steps-2", {"joint"}),
        ("joint-stratified-merit-1d", SIZE),
        # Weights: those by tokens have controls by tokens, equal ones equal ones; shares have both at once.
        ("merit-1d-uniform", STRATA | {"merit-1d", "random-2-uniform", "iid-2"}),
        ("random-2-uniform", SIZE | {"random-2", "iid-2"}),
        # The operator, and without it.
        ("merit-1d+ties", STRATA | ending(CHANCE, "+ties") | {"iid-2+ties", "merit-1d"}),
        ("soup-2+ties", {"joint", "joint-2", "soup-2"}),
        # The scale: on one branch and on what is merged alike, and without it.
        ("merit-1d@0.8", STRATA | ending(STRATA | CHANCE | {"iid-2"}, "@0.8") | {"merit-1d"}),
        ("merit-1d@fitted", STRATA | ending(STRATA | CHANCE | {"iid-2"}, "@fitted") | {"merit-1d"}),
        (
            "merit-1d-uniform@0.8",
            STRATA | ending(STRATA | {"random-2-uniform", "iid-2"}, "@0.8") | {"merit-1d", "merit-1d-uniform"},
        ),
        (
            "merit-1d+ties@0.8",
            STRATA | ending(STRATA, "@0.8") | ending(CHANCE | {"iid-2"}, "+ties@0.8") | {"merit-1d", "merit-1d+ties"},
        ),
        ("soup-2@0.8", {"joint", "joint-2", "joint@0.8", "joint-2@0.8", "soup-2"}),
        ("joint-2@0.8", {"joint", "joint-2", "joint@0.8"}),
        ("joint@0.8", {"joint"}),
        # Fitted weights may have found a scale alone.
        (
            "merit-1d+fitted",
            STRATA | ending(STRATA, "@fitted") | ending(CHANCE | {"iid-2"}, "+fitted") | {"merit-1d"},
        ),
        ("iid-2+fitted", SIZE | ending(SIZE, "@fitted") | {"iid-2"}),
        # A claim for joint training is one of learning anything.
        ("joint", {"start"}),
        ("start", set()),
        ("base", set()),
    ],
)
def test_controls_differ_from_an_arm_in_what_could_refute_it(arm: str, expected: set[str]) -> None:
    assert controls_of(arm) == expected


def test_fitted_weights_and_a_scale_have_joint_training_at_both() -> None:
    found = controls_of("merit-1d+fitted@0.8")
    assert {"joint@0.8", "joint@fitted", "joint-equal-steps-2@0.8", "merit-1d", "merit-1d+fitted"} <= found
    assert found.isdisjoint({"random-2+fitted", "random-2@0.8", "iid-2+fitted"})


def test_no_arm_is_its_own_control_and_all_are_of_the_run_in_its_order() -> None:
    for arm in RUN:
        found = controls(arm, specs_of(arm), RUN)
        assert arm.name not in found
        assert found == [name for name in NAMES if name in found]
        assert controls_of(arm.name, ("base", arm.name)) == set()
