from pathlib import Path

import pytest

import figures
from figures.catalogue import CATALOGUE, NAMES, Entry, Source

PACKAGES = Path(figures.__file__).parent


def test_every_name_is_one_entrys_own() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("entry", CATALOGUE, ids=NAMES)
def test_every_entry_either_draws_or_tabulates(entry: Entry) -> None:
    module = entry.module()
    assert hasattr(module, "draw") != hasattr(module, "tabulate")
    assert (module.__doc__ or "").strip()


def test_whatever_can_be_drawn_is_in_the_catalogue_under_its_source() -> None:
    found = {
        (source.value, path.stem)
        for source in Source
        for path in (PACKAGES / source).glob("*.py")
        if any(line.startswith(("def draw(", "def tabulate(")) for line in path.read_text().splitlines())
    }
    assert found == {(entry.source.value, entry.name) for entry in CATALOGUE}


def test_pictures_of_simulations_go_by_the_names_of_experiments() -> None:
    experiments = {path.stem for path in (PACKAGES.parent / "simulations").glob("*.py")}
    assert {entry.name for entry in CATALOGUE if entry.source is Source.SIMULATION} <= experiments
