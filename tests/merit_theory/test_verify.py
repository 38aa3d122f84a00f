"""The verification itself: what it must notice, on small statements made for the purpose and on real ones."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from merit_theory.propositions import eq_e2, lemma_1, prop_f_10, prop_f_11, prop_f_12_isotropic, remark_f_5, theorem_a
from merit_theory.propositions.proposition import (
    Claim,
    Demonstration,
    Ensemble,
    Hypothesis,
    Outcome,
    Proposition,
    Sides,
)
from merit_theory.verify import Verification, select, verify

NUMBERS = Ensemble(lambda rng, n: rng.standard_normal(n))
POSITIVE = Ensemble(lambda rng, n: rng.standard_normal(n), jnp.exp)


def square(x: np.ndarray) -> Sides:
    return Sides(x**2, 0.0 * x, 1.0)


def cube(x: np.ndarray) -> Sides:
    return Sides(x**3, 0.0 * x, 1.0)


IS_POSITIVE = Hypothesis("x is positive", lambda x: x > 0, without=np.array(-1.0))
SQUARE = Claim(reads="x² ≥ 0", sides=square, relation="≥", ensembles=(NUMBERS,), tight=np.array(0.0))
CUBE = Claim(reads="x³ ≥ 0", sides=cube, relation="≥", hypotheses=(IS_POSITIVE,), ensembles=(POSITIVE,))
FALSE_CUBE = Claim(reads="x³ ≥ 0", sides=cube, relation="≥", refutations=(np.array(-2.0),))
SHOWN = Demonstration("two and two", lambda rng: Outcome(2 + 2 == 4, "4"))
NOT_SHOWN = Demonstration("two and two", lambda rng: Outcome(2 + 2 == 5, "4"))


def statement(verdict: str, claim: Claim | None = None, **parts: object) -> Proposition:
    return Proposition(id="test", reference="", statement="", scope="exact", verdict=verdict, claim=claim, **parts)


def failures(proposition: Proposition, instances: int = 512) -> str:
    return "; ".join(verify(proposition, instances, seed=0).failures)


@pytest.mark.parametrize(
    "proposition",
    [
        statement("holds", SQUARE),
        statement("holds", CUBE),
        statement("holds with an added hypothesis", replace(CUBE, hypotheses=(replace(IS_POSITIVE, added=True),))),
        statement("false as stated", FALSE_CUBE, corrected=CUBE),
        statement("not derivable", FALSE_CUBE),
        statement("not derivable", demonstrations=(SHOWN,)),
        statement("reproduced for another reason", demonstrations=(SHOWN,), corrected=CUBE),
    ],
)
def test_a_right_verdict_is_reproduced(proposition: Proposition) -> None:
    assert failures(proposition) == ""


@pytest.mark.parametrize(
    ("proposition", "reason"),
    [
        (statement("holds", replace(CUBE, hypotheses=(), ensembles=(NUMBERS,))), "fails under attack"),
        (statement("holds", None), "nothing is claimed"),
        (statement("holds with an added hypothesis", CUBE), "no hypothesis is marked as added"),
        (
            statement("false as stated", replace(SQUARE, refutations=(np.array(1.0),)), corrected=CUBE),
            "satisfies x² ≥ 0",
        ),
        (statement("false as stated", SQUARE, corrected=CUBE), "no refutation is stored"),
        (statement("false as stated", FALSE_CUBE), "no corrected form"),
        (statement("false as stated", FALSE_CUBE, corrected=replace(CUBE, sides=lambda x: cube(-x))), "under attack"),
        (statement("not derivable"), "nothing shows why"),
        (statement("not derivable", demonstrations=(NOT_SHOWN,)), "not shown: two and two (4)"),
        (statement("holds", SQUARE, demonstrations=(NOT_SHOWN,)), "not shown"),
    ],
)
def test_a_wrong_verdict_is_not_reproduced(proposition: Proposition, reason: str) -> None:
    assert reason in failures(proposition)


def test_a_hypothesis_that_is_not_needed_is_noticed() -> None:
    idle = replace(SQUARE, hypotheses=(IS_POSITIVE,), ensembles=(POSITIVE,), tight=None)
    assert "survives without (x is positive): 1 ≥ 0" in failures(statement("holds", idle))
    unsupported = replace(CUBE, hypotheses=(replace(IS_POSITIVE, without=None),))
    assert "no instance shows that (x is positive) is needed" in failures(statement("holds", unsupported))


def test_an_instance_without_a_hypothesis_must_violate_that_one_alone() -> None:
    both = replace(
        CUBE, hypotheses=(IS_POSITIVE, Hypothesis("x is not minus one", lambda x: x != -1.0, np.array(-1.0)))
    )
    assert "violates ['x is positive', 'x is not minus one']" in failures(statement("holds", both))
    neither = replace(CUBE, hypotheses=(replace(IS_POSITIVE, without=np.array(1.0)),))
    assert "violates no hypothesis" in failures(statement("holds", neither))


def test_a_refutation_must_satisfy_the_hypotheses() -> None:
    claim = replace(FALSE_CUBE, hypotheses=(IS_POSITIVE,))
    assert "does not satisfy: x is positive" in failures(statement("not derivable", claim))


def test_an_ensemble_that_misses_the_hypotheses_tests_nothing() -> None:
    elsewhere = Ensemble(lambda rng, n: -1.0 - rng.random(n))
    assert "drawn instances satisfy the hypotheses" in failures(
        statement("holds", replace(CUBE, ensembles=(elsewhere,)))
    )


def test_an_instance_that_is_called_tight_must_be() -> None:
    assert "called tight is not: 1 ≥ 0" in failures(statement("holds", replace(SQUARE, tight=np.array(1.0))))


def test_a_claim_that_is_undefined_on_an_instance_does_not_hold_there() -> None:
    undefined = replace(SQUARE, tight=None, sides=lambda x: Sides(jnp.log(x), jnp.log(x) - 1.0, 1.0))
    assert "slack -inf" in failures(statement("holds", undefined))


def test_descent_finds_what_random_instances_miss() -> None:
    def hidden(x: np.ndarray) -> Sides:
        # Below zero only within 0.1 of eight: sixty standard deviations from anything that is drawn.
        return Sides((x - 8.0) ** 2, jnp.asarray(0.01), 1.0)

    near_five = Ensemble(lambda rng, n: 5.0 + 0.05 * rng.standard_normal(n))
    missed = Claim(reads="", sides=hidden, relation="≥", ensembles=(near_five,), engine="numpy")
    assert failures(statement("holds", replace(missed, sides=lambda x: Sides((x - 8.0) ** 2, 0.01, 1.0)))) == ""
    assert "under attack" in failures(statement("holds", replace(missed, engine="jax")))


def test_descent_starts_from_the_worst_of_all_random_instances() -> None:
    def slope_far_out(x: np.ndarray) -> Sides:
        # Flat where all but half a per cent of the instances lie, and below zero only five standard deviations out.
        return Sides(jnp.where(x > 2.5, 1 - 0.4 * (x - 2.5), 1.0), jnp.asarray(0.0), 1.0)

    claim = Claim(reads="", sides=slope_far_out, relation="≥", ensembles=(NUMBERS,))
    assert "under attack" in failures(statement("holds", claim), 4096)


def test_a_claim_that_the_library_refuses_without_its_hypothesis_fails_there() -> None:
    found = verify(lemma_1.PROPOSITION, 64, 0)
    assert found.reproduced, found.failures
    assert found.without == ("no gradient is zero: undefined: task 1 has a zero gradient and so no direction",)


def test_the_same_seed_finds_the_same_and_another_seed_something_else() -> None:
    first, again, other = (verify(statement("holds", CUBE), 256, seed).worst_slack for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("module", [eq_e2, prop_f_10, prop_f_12_isotropic, remark_f_5, theorem_a])
def test_an_identity_with_a_sign_error_or_a_factor_is_caught(module: object) -> None:
    right: Proposition = module.PROPOSITION  # pyrefly: ignore
    sides = right.claim.sides
    for factor in (-1.0, 1.001):
        wrong = replace(right.claim, sides=lambda x, f=factor: sides(x)._replace(right=f * sides(x).right))
        assert "fails under attack" in failures(replace(right, claim=wrong, demonstrations=()), 256)


def test_the_uncorrected_bound_of_f_11_is_caught_where_the_corrected_one_stands() -> None:
    right = prop_f_11.PROPOSITION
    swapped = replace(right, corrected=replace(right.corrected, sides=right.claim.sides), demonstrations=())
    assert "fails under attack" in failures(swapped, 256)


def test_f_11_is_refuted_in_the_numbers_of_the_four_tasks() -> None:
    found: Verification = verify(prop_f_11.PROPOSITION, 256, 0)
    assert found.reproduced
    assert found.refutations == ("sᵀMs ≥ μ₁‖v₁‖₁² fails: 52 < 79.3548",)
    assert "forms [52, 68, 80], mean 200/3" in found.demonstrations[-1]


def test_statements_are_selected_by_part_of_their_id_in_any_case() -> None:
    chosen = select((eq_e2.PROPOSITION, prop_f_10.PROPOSITION, prop_f_11.PROPOSITION), "F.1")
    assert [proposition.id for proposition in chosen] == ["prop-f.10", "prop-f.11"]
    with pytest.raises(ValueError, match=r"contains 'f\.99'; the ids are eq-e2"):
        select((eq_e2.PROPOSITION,), "f.99")


def test_no_instances_are_refused() -> None:
    with pytest.raises(ValueError, match="0 instances"):
        verify(statement("holds", SQUARE), 0, 0)
