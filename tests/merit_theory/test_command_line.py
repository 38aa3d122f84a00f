"""``python -m merit_theory verify`` as a user runs it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from merit_theory.__main__ import main
from merit_theory.propositions import catalogue, prop_f_10
from merit_theory.propositions.proposition import Demonstration, Outcome

PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "merit_theory", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=PLAIN, timeout=300, check=False)


def test_one_statement_is_verified_and_written_as_json(tmp_path: Path) -> None:
    out = tmp_path / "findings.json"
    done = run("verify", "--only", "F.11", "--instances", "300", "--seed", "3", "--json", str(out))
    assert done.returncode == 0, done.stderr
    assert "52 < 79.3548" in done.stdout
    assert "3 of 3 verdicts reproduced" in done.stdout
    found = {row["id"]: row for row in json.loads(out.read_text(encoding="utf-8"))}
    assert sorted(found) == ["prop-f.11", "prop-f.11-footnote", "prop-f.11-optimum"]
    row = found["prop-f.11"]
    assert row["verdict"] == "false as stated"
    assert row["reproduced"] is True
    assert row["failures"] == []
    assert row["instances"] >= 512  # two whole chunks of random instances
    assert row["worst_slack"] >= 0
    assert row["refutations"] == ["sᵀMs ≥ μ₁‖v₁‖₁² fails: 52 < 79.3548"]
    assert row["without"][0].startswith("the Hessian is positive semi-definite: 56 < 56.4079")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Runs the command in this process, which has imported JAX already; its exit code."""
    handler = signal.getsignal(signal.SIGINT)

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["merit-verify", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    yield run
    signal.signal(signal.SIGINT, handler)


def test_a_verdict_that_is_not_reproduced_ends_with_one_and_says_why(
    here: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = replace(prop_f_10.PROPOSITION, verdict="false as stated")
    monkeypatch.setattr(catalogue, "PROPOSITIONS", (wrong,))
    assert here("verify", "--instances", 1) == 1
    printed = capsys.readouterr().out
    assert "NOT REPRODUCED" in printed
    assert "no refutation is stored" in " ".join(printed.split())
    assert "not reproduced: prop-f.10" in printed


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["verify", "--only", "f.99"], "no statement's id contains 'f.99'"),
        (["verify", "--only", "eq-e2", "--instances", "0"], "greater than or equal to 1"),
        (["verify", "--seed", "x"], "valid integer"),
        (["verify", "--only", "eq-10", "--instances", "1", "--json", "/nowhere/x.json"], "its folder does not exist"),
    ],
)
def test_bad_input_is_one_line_and_ends_with_two(
    here: Callable[..., int], capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert here(*arguments) == 2
    told = capsys.readouterr().err
    assert complaint in told.splitlines()[-1]
    assert told.startswith("error: ") or "\nerror: " in told


@pytest.mark.parametrize("lost", [False, True], ids=["at once", "when a callback has swallowed it"])
def test_an_interruption_ends_with_130_before_the_next_statement(
    here: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lost: bool
) -> None:
    begun: list[str] = []

    def strike(rng: np.random.Generator) -> Outcome:
        begun.append("first")
        with suppress(KeyboardInterrupt) if lost else nullcontext():
            signal.raise_signal(signal.SIGINT)
        return Outcome(True, "")

    def go_on(rng: np.random.Generator) -> Outcome:
        begun.append("second")
        return Outcome(True, "")

    statements = [
        replace(prop_f_10.PROPOSITION, claim=None, demonstrations=(Demonstration("", each),))
        for each in (strike, go_on)
    ]
    monkeypatch.setattr(catalogue, "PROPOSITIONS", tuple(statements))
    assert here("verify", "--instances", 1) == 130
    assert begun == ["first"]
    assert "stopped: interrupted" in capsys.readouterr().err


@pytest.mark.slow
def test_every_verdict_is_reproduced(tmp_path: Path) -> None:
    out = tmp_path / "findings.json"
    done = run("verify", "--json", str(out))
    assert done.returncode == 0, done.stdout
    rows = json.loads(out.read_text(encoding="utf-8"))
    assert all(row["reproduced"] for row in rows)
    assert len({row["id"] for row in rows}) == len(rows) >= 45
