"""The catalogue: complete, consistent, and every stored instance does what it is stored for."""

from pathlib import Path

import pytest

from merit_theory import propositions
from merit_theory.propositions.catalogue import PROPOSITIONS
from merit_theory.propositions.proposition import Claim, Proposition
from merit_theory.verify import verify

NOT_STATEMENTS = {"__init__", "catalogue", "proposition", "rectangle"}


def test_every_file_with_a_statement_is_listed_once() -> None:
    folder = Path(propositions.__path__[0])
    files = {
        path.stem.replace("_", "").replace("-", "") for path in folder.glob("*.py") if path.stem not in NOT_STATEMENTS
    }
    ids = [proposition.id.replace("-", "").replace(".", "") for proposition in PROPOSITIONS]
    assert len(set(ids)) == len(ids)
    assert set(ids) == files


@pytest.mark.parametrize("proposition", PROPOSITIONS, ids=lambda proposition: proposition.id)
def test_a_statement_that_stands_is_attacked_or_demonstrated(proposition: Proposition) -> None:
    stands: Claim | None = proposition.claim if proposition.verdict.startswith("holds") else proposition.corrected
    assert proposition.demonstrations or (stands is not None and stands.ensembles)
    for hypothesis in () if stands is None else stands.hypotheses:
        assert hypothesis.without is not None


@pytest.mark.parametrize("name", ["prop-f.6", "prop-f.10", "theorem-a", "theorem-c", "core", "eq-10"])
def test_each_stored_instance_fails_exactly_when_its_hypothesis_is_dropped(name: str) -> None:
    proposition = next(each for each in PROPOSITIONS if each.id == name)
    found = verify(proposition, 256, 0)
    stands = proposition.claim if proposition.verdict.startswith("holds") else proposition.corrected
    assert stands is not None
    assert found.reproduced, found.failures
    assert len(found.without) == len(stands.hypotheses)
    assert all("≠" in numbers or "<" in numbers for numbers in found.without)
