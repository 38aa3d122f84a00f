"""``python -m merit_theory verify`` as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


def test_a_verdict_that_is_not_reproduced_ends_with_one_and_says_why(tmp_path: Path) -> None:
    script = tmp_path / "wrong.py"
    script.write_text(
        "import sys\n"
        "from dataclasses import replace\n"
        "from merit_theory.propositions import catalogue\n"
        "from merit_theory.propositions.prop_f_10 import PROPOSITION\n"
        "catalogue.PROPOSITIONS = (replace(PROPOSITION, verdict='false as stated'),)\n"
        "from merit_theory.__main__ import main\n"
        "sys.argv = ['merit-verify', 'verify', '--instances', '1']\n"
        "main()\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=PLAIN, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    assert "NOT REPRODUCED" in done.stdout
    assert "no refutation is stored" in " ".join(done.stdout.split())
    assert "not reproduced: prop-f.10" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["verify", "--only", "f.99"], "no statement's id contains 'f.99'"),
        (["verify", "--only", "eq-e2", "--instances", "0"], "greater than or equal to 1"),
        (["verify", "--seed", "x"], "valid integer"),
        (["verify", "--only", "eq-10", "--instances", "1", "--json", "/nowhere/x.json"], "its folder does not exist"),
    ],
)
def test_bad_input_is_one_line_and_ends_with_two(arguments: list[str], complaint: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr.splitlines()[-1]
    assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr


def test_an_interruption_ends_with_130() -> None:
    command = [sys.executable, "-m", "merit_theory", "verify", "--only", "thm"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=PLAIN)
    time.sleep(3)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "stopped: interrupted" in errors


@pytest.mark.slow
def test_every_verdict_is_reproduced(tmp_path: Path) -> None:
    out = tmp_path / "findings.json"
    done = run("verify", "--json", str(out))
    assert done.returncode == 0, done.stdout
    rows = json.loads(out.read_text(encoding="utf-8"))
    assert all(row["reproduced"] for row in rows)
    assert len({row["id"] for row in rows}) == len(rows) >= 45
