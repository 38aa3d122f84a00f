"""A run that was killed, anywhere and however often, ends with what it would have ended with undisturbed."""

import random
import signal
import time
from pathlib import Path

import pytest

from tests.pipeline.every_kind import EVERY_KIND
from tests.pipeline.killing import (
    HOW_TO_CONTINUE,
    POLL_SECONDS,
    STAGES,
    Attempt,
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
CODES: dict[Target, int] = {"driver": -signal.SIGKILL, "worker": 130, "SIGINT": 130}


@pytest.fixture(
    scope="module", params=[pytest.param("driver first"), pytest.param("worker first", marks=pytest.mark.slow)]
)
def killed(request: pytest.FixtureRequest, smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory, killed in every stage in turn."""
    choose = random.Random(f"{SEED} {request.param}")
    out = tmp_path_factory.mktemp("killed") / "run"
    targets = zip(STAGES, TARGETS[request.param], strict=False)
    kills = [Kill(stage, target, choose.random() / 2) for stage, target in targets]
    deaths = kill_until_done(out, kills, stage_seconds(smoke_run), choose, ["resources.workers=1"])
    died = {(death.stage, death.code) for death in deaths}
    assert died >= {(kill.stage, CODES[kill.target]) for kill in kills}
    return out


def test_a_run_killed_in_every_stage_ends_as_if_undisturbed_and_one_worker_does_what_two_do(
    killed: Path, smoke_run: Path
) -> None:
    assert differences(outcome(killed), outcome(smoke_run)) == []


@pytest.mark.slow
def test_a_run_killed_while_it_fits_corrects_merges_and_scales_ends_as_if_undisturbed(
    every_kind: Path, tmp_path: Path
) -> None:
    targets: tuple[Target, ...] = ("driver", "worker", "group", "SIGTERM", "SIGINT")
    kills = [Kill("merge", target, 0.1 + 0.15 * number) for number, target in enumerate(targets)]
    kills += [Kill("evaluation", target, 0.9) for target in ("worker", "driver")]
    choose = random.Random(SEED)
    deaths = kill_until_done(tmp_path / "run", kills, stage_seconds(every_kind), choose, EVERY_KIND)
    assert "merge" in {death.stage for death in deaths}
    assert differences(outcome(tmp_path / "run"), outcome(every_kind)) == []


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
            time.sleep(POLL_SECONDS)
        attempt.process.send_signal(signal.SIGTERM)
        code, stderr = attempt.end()
    assert code == 130
    assert len(stderr) == 1
    assert stderr[0].endswith(HOW_TO_CONTINUE)
    begun = {path.parent for path in (tmp_path / "run").glob("branches/*/metrics.jsonl")}
    assert {path.parents[1] for path in (tmp_path / "run").glob("branches/*/checkpoint/*")} == begun
