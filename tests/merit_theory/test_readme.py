"""The README's table of verdicts is the catalogue's."""

import re
from pathlib import Path

from merit_theory.propositions.catalogue import PROPOSITIONS

ROW = re.compile(r"^\| `(?P<id>[^`]+)` \| (?P<statement>.*?) \| (?P<verdict>[a-z ]+) \| ", re.MULTILINE)


def test_the_readme_shows_every_statement_with_its_verdict() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown = [(row["id"], row["statement"].replace("\\|", "|"), row["verdict"]) for row in ROW.finditer(readme)]
    assert shown == [(entry.id, entry.statement, entry.verdict) for entry in PROPOSITIONS]
