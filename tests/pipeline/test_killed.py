"""A run that was killed, anywhere and however often, ends with what it would have ended with undisturbed."""

import random
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.pipeline.killing import (
    HOW_TO_CONTINUE,
    STAGES,
    STAGES_WITH_WORKERS,
    Attempt,
    Death,
    Kill,
    Target,
    differences,
    kill_until_done,
    outcome,
    stage_seconds,
)

SEED = 7
TARGETS: dict[str, tuple[Target, ...]] = {
    "driver first": ("driver", "worker", "driver", "worker", "driver", "worker", "driver"),
    "worker first": ("SIGINT", "driver", "worker", "driver", "worker", "driver", "worker", "driver"),
}
Chains = dict[str, tuple[Path, list[Death]]]


@pytest.fixture(scope="module")
def chains(smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Chains:
    """Two run directories, each killed in every stage in turn, side by side."""
    seconds = stage_seconds(smoke_run)

    def follow(name: str) -> tuple[Path, list[Death]]:
        choose = random.Random(f"{SEED} {name}")
        out = tmp_path_factory.mktemp(name.replace(" ", "-")) / "run"
        kills = [Kill(stage, target, choose.random() / 2) for stage, target in zip(STAGES, TARGETS[name], strict=False)]
        return out, kill_until_done(out, kills, seconds, choose, ["resources.workers=1"])

    with ThreadPoolExecutor() as threads:
        return dict(zip(TARGETS, threads.map(follow, TARGETS), strict=True))


@pytest.mark.parametrize("name", TARGETS)
def test_a_run_killed_in_every_stage_ends_as_if_undisturbed(name: str, chains: Chains, smoke_run: Path) -> None:
    out, deaths = chains[name]
    assert {death.stage for death in deaths} >= set(STAGES[: len(TARGETS[name])])
    assert differences(outcome(out), outcome(smoke_run)) == []


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_was_left_by_a_dead_driver_and_by_a_dead_worker_if_it_has_any(stage: str, chains: Chains) -> None:
    codes = {death.code for _, deaths in chains.values() for death in deaths if death.stage == stage}
    assert -signal.SIGKILL in codes
    assert 130 in codes or stage not in STAGES_WITH_WORKERS


def test_a_second_driver_is_refused_while_the_first_one_works(tmp_path: Path) -> None:
    with Attempt(tmp_path / "run") as first:
        assert first.reaches("mixture")
        with Attempt(tmp_path / "run") as second:
            code, stderr = second.end()
        assert first.process.poll() is None
    assert code == 2
    assert len(stderr) == 1
    assert "in use by another run" in stderr[0]


def test_a_run_that_is_asked_to_end_leaves_a_checkpoint_of_every_branch_it_was_at(tmp_path: Path) -> None:
    with Attempt(tmp_path / "run", ["branch.checkpoint_seconds=1000", "branch.epochs=1000"]) as attempt:
        assert attempt.reaches("start")
        while not list((tmp_path / "run").glob("branches/*/metrics.jsonl")):
            assert attempt.process.poll() is None
        attempt.process.send_signal(signal.SIGTERM)
        code, stderr = attempt.end()
    assert code == 130
    assert len(stderr) == 1
    assert stderr[0].endswith(HOW_TO_CONTINUE)
    begun = {path.parent for path in (tmp_path / "run").glob("branches/*/metrics.jsonl")}
    assert {path.parents[1] for path in (tmp_path / "run").glob("branches/*/checkpoint/*")} == begun
