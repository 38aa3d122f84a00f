"""Damage to the files of a run: what can be made again is, to the same results; the rest is refused with its remedy."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.every_kind import WITH_ONE_WORKER
from tests.pipeline.killing import differences, outcome
from tests.pipeline.refusals import leftovers, refusal, results, training
from training.branches.train import train_branch
from training.config import MixtureSettings
from training.intact import read_sealed, write_sealed
from training.interruption import Interrupted
from training.mixture import freeze
from training.run_directory import BranchDirectory, folder_hash

Damage = Callable[[bytes], bytes | None]
ONE_WORKER = ("--set", "resources.workers=1")


def gone(whole: bytes) -> None:
    return None


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda whole: whole[: min(int(share * len(whole)), len(whole) - 1)]


def flip(share: float) -> Callable[[bytes], bytes]:
    def flipped(whole: bytes) -> bytes:
        place = min(int(share * len(whole)), len(whole) - 1)
        return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]

    return flipped


DAMAGES: dict[str, Damage] = {
    "cut to nothing": cut(0),
    "cut in its first part": cut(0.01),
    "cut in the middle": cut(0.5),
    "one byte short": cut(1),
    "first byte": flip(0),
    "early byte": flip(0.02),
    "middle byte": flip(0.5),
    "late byte": flip(0.99),
    "last byte": flip(1),
    "gone": gone,
}

MADE_AGAIN = (
    "config.toml",
    "environment.json",
    "mixture/gcd/train.jsonl",
    "mixture/outside/simple_equations/test.jsonl",
    "base/model.safetensors",
    "base/config.json",
    "start/model.safetensors",
    "start/tokenizer.json",
    "conflicts/gcd.npz",
    "conflicts.json",
    "partitions/merit-1d.json",
    "branches/*/spec.json",
    "branches/*/done.json",
    "branches/*/model/model.safetensors",
    "branches/*/model/config.json",
    "branches/*/displacement.npz",
    "arms/merit-1d/arm.json",
    "arms/merit-1d/model/model.safetensors",
    "arms/joint/model/model.safetensors",
    "arms/random-2/model/provenance.json",
    "evaluation/merit-1d.npz",
    "evaluation/branch-*.npz",
    "evaluation/evaluation.json",
    "retention/answers.jsonl",
    "retention/answers.json",
    "retention/merit-1d.npz",
    "cost.json",
    "summary.json",
    "summary.md",
    "pictures/task_map.png",
)


@pytest.fixture
def run(smoke_run: Path, tmp_path: Path) -> Path:
    """A finished run that shares no file with another."""
    return Path(shutil.copytree(smoke_run, tmp_path / "run"))


def damage(run: Path, pattern: str, how: Damage) -> None:
    found = sorted(run.glob(pattern))
    assert found
    for path in found:
        damaged = how(path.read_bytes())
        path.unlink()  # not in place: models of a run are links to the cache, which undamaged runs share
        if damaged is not None:
            path.write_bytes(damaged)


def assert_made_again(run: Path, smoke_run: Path) -> None:
    done = training("run", "smoke", "--out", run, *ONE_WORKER)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert results(run) == results(smoke_run)
    assert not leftovers(run)
    for pattern in ("mixture/**/*.jsonl", "branches/*/model/*", "base/*", "start/*", "retention/answers.jsonl"):
        for path in smoke_run.glob(pattern):
            assert (run / path.relative_to(smoke_run)).read_bytes() == path.read_bytes()


def test_damaged_results_of_every_stage_are_made_again_with_the_same_outcome(run: Path, smoke_run: Path) -> None:
    for number, pattern in enumerate(MADE_AGAIN):
        damage(run, pattern, list(DAMAGES.values())[number % len(DAMAGES)])
    assert_made_again(run, smoke_run)


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
def test_every_result_damaged_in_one_way_is_made_again(run: Path, smoke_run: Path, how: Damage) -> None:
    for pattern in MADE_AGAIN:
        damage(run, pattern, how)
    assert_made_again(run, smoke_run)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", MADE_AGAIN)
def test_one_damaged_result_beside_good_ones_is_made_again(run: Path, smoke_run: Path, pattern: str) -> None:
    damage(run, pattern, flip(0.5))
    assert_made_again(run, smoke_run)
    damage(run, pattern, cut(0.7))
    assert_made_again(run, smoke_run)


OF_OTHER_MERGES = (
    "branches/*/second_moments.safetensors",
    "partitions/*.json",
    "fits/*.json",
    "drifts/*.safetensors",
    "arms/*+*/model/model.safetensors",
    "arms/*+*/model/provenance.json",
    "arms/*+*/arm.json",
    "arms/*@*/model/model.safetensors",
    "arms/*@*/arm.json",
    "evaluation/*[+@]*.npz",
    "retention/*.npz",
    "retention/answers.jsonl",
    "retention/answers.json",
    "branches/*/metrics.jsonl",
    "metrics/events.jsonl",
)
"""What arms leave that are fitted, corrected, merged by operators and scaled."""


def assert_merged_again(run: Path, every_kind: Path) -> None:
    done = training("run", "smoke", "--out", run, *WITH_ONE_WORKER)
    assert (done.returncode, done.stderr) == (0, "")
    assert differences(outcome(run), outcome(every_kind)) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGES.values(), ids=DAMAGES)
def test_all_that_other_merges_left_damaged_in_one_way_is_made_again(
    every_kind: Path, tmp_path: Path, how: Damage
) -> None:
    run = Path(shutil.copytree(every_kind, tmp_path / "run"))
    for pattern in OF_OTHER_MERGES:
        damage(run, pattern, how)
    assert_merged_again(run, every_kind)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", OF_OTHER_MERGES)
def test_one_damaged_file_of_other_merges_beside_good_ones_is_made_again(
    every_kind: Path, tmp_path: Path, pattern: str
) -> None:
    run = Path(shutil.copytree(every_kind, tmp_path / "run"))
    damage(run, pattern, flip(0.5))
    assert_merged_again(run, every_kind)


HARMLESS = ("one byte short", "last byte")
"""The line break at the end of a JSON file says nothing."""


@pytest.mark.parametrize("name", [name for name in DAMAGES if name not in (*HARMLESS, "gone")])
def test_a_damaged_manifest_is_refused_with_its_remedy(told: Callable[..., str], run: Path, name: str) -> None:
    damage(run, "mixture/manifest.json", DAMAGES[name])
    mixture = run / "mixture"
    assert told("run", "smoke", "--out", run) == (
        f"error: {mixture / 'manifest.json'} is missing or damaged; remove {mixture} and run again to freeze the tasks "
        "anew"
    )


@pytest.mark.slow
def test_the_remedy_for_a_damaged_manifest_leads_to_the_same_mixture_and_results(run: Path, smoke_run: Path) -> None:
    damage(run, "mixture/manifest.json", flip(0.5))
    assert "remove" in refusal("run", "smoke", "--out", run)
    shutil.rmtree(run / "mixture")
    assert_made_again(run, smoke_run)


def test_a_damaged_mixture_whose_source_has_changed_is_refused(told: Callable[..., str], tmp_path: Path) -> None:
    settings = MixtureSettings.model_validate({"tasks": [{"dataset": "gcd"}], "train": 5, "test": 4, "calibration": 4})
    freeze(settings, 0, tmp_path / "run" / "mixture")
    manifest = tmp_path / "run" / "mixture" / "manifest.json"
    # What a generator whose rows depend on the process would leave behind.
    record = read_sealed(manifest)
    assert record is not None
    record["tasks"][0]["splits"]["train"]["sha256"] = "0" * 64
    write_sealed(manifest, record)
    before = {path: path.read_bytes() for path in manifest.parent.rglob("*.jsonl")}
    changes = ("train=5", "test=4", "calibration=4", "primer=0", 'tasks=["reasoning_gym:gcd"]', "outside=[]")
    arguments = [part for change in changes for part in ("--set", f"mixture.{change}")]
    line = told("run", "smoke", "--out", tmp_path / "run", "--set", 'arms=["joint"]', *arguments)
    assert f"task 'gcd' in {manifest.parent} is damaged and its source no longer gives the same rows; remove" in line
    assert {path: path.read_bytes() for path in manifest.parent.rglob("*.jsonl")} == before


@pytest.mark.slow
def test_a_start_that_is_not_the_one_of_a_branch_trained_alone_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    spec = sorted(run.glob("branches/*/spec.json"))[0]
    for folder in ("base", "start"):
        damage(run, f"{folder}/model.safetensors", flip(0.9))
    line = refusal("branch", "--spec", spec, "--out", tmp_path / "alone")
    assert "is not the start of this branch; copy the start the spec was made from" in line
    assert not list((tmp_path / "alone").rglob("model"))


def test_a_damaged_spec_is_refused_by_name(told: Callable[..., str], run: Path, tmp_path: Path) -> None:
    spec = sorted(run.glob("branches/*/spec.json"))[0]
    whole = spec.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"[]", b"\xff" + whole[1:]):
        spec.write_bytes(damaged)
        assert f"error: {spec} is not" in told("branch", "--spec", spec, "--out", tmp_path / "alone")
    assert not (tmp_path / "alone").exists()


def test_a_branch_with_a_damaged_checkpoint_begins_anew_and_ends_with_the_same_weights(
    run: Path, tmp_path: Path
) -> None:
    branch = next(path.parent for path in run.glob("branches/*/done.json") if json.loads(path.read_text())["steps"] > 3)
    out = BranchDirectory(tmp_path / "alone")

    def take_steps(count: int) -> list[int]:
        """The tokens reported until ``count`` steps were taken; the first is what a checkpoint holds."""
        reported: list[int] = []
        with contextlib.suppress(Interrupted):
            train_branch(branch / "spec.json", out.root, "cpu", reported.append, lambda: len(reported) >= count)
        return reported

    first = take_steps(3)
    whole = out.checkpoint.read_bytes()
    assert take_steps(1)[0] == sum(first)
    for how in (cut(0), cut(0.5), flip(0.02), flip(0.5)):
        out.checkpoint.write_bytes(how(whole))
        assert take_steps(1)[0] == first[0]
    out.checkpoint.write_bytes(flip(0.9)(whole))
    done = training("branch", "--spec", branch / "spec.json", "--out", out.root)
    assert done.returncode == 0, done.stderr
    assert folder_hash(out.model) == folder_hash(branch / "model")
    steps = [json.loads(line)["step"] for line in out.metrics.read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))
