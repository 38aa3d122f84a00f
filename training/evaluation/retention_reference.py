"""The yardstick of retention: general prompts that come with the package, and one model's own answers to them.

Which model answers was settled by measurement; see :mod:`training.evaluation.retention`. The answers are frozen as the
tokens that were generated, so that nothing is tokenised a second time: text cut at the limit may not come back as the
same tokens.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from training.errors import InputError
from training.intact import read_sealed, write_sealed
from training.run_directory import RunDirectory, file_hash, write_text

PROMPTS = Path(__file__).with_name("retention_prompts.jsonl")


@dataclass(frozen=True, slots=True)
class ReferenceAnswer:
    """One prompt with its frozen answer.

    Attributes:
        prompt: what the user asks.
        answer: the answer as text, for people to read.
        ids: tokens of the conversation: chat template, prompt and answer, with the end token where the model gave one.
        prompt_length: how many of them come before the answer.
        ended: whether the model ended its answer within the limit.
    """

    prompt: str
    answer: str
    ids: tuple[int, ...]
    prompt_length: int
    ended: bool

    @property
    def length(self) -> int:
        """Tokens of the answer without the end token."""
        return len(self.ids) - self.prompt_length - self.ended


def general_prompts(count: int) -> list[str]:
    """The first ``count`` general prompts; they are ordered so that few of them are as varied as many."""
    lines = PROMPTS.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["prompt"] for line in lines[:count]]


def freeze_reference(run: RunDirectory, key: str, answers: Sequence[ReferenceAnswer]) -> str:
    """Write ``retention/answers.jsonl``, and beside it under which ``key`` and with which hash it was frozen.

    Returns the hash.
    """
    lines = [json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers]
    write_text(run.retention_answers, "".join(lines))
    sha256 = file_hash(run.retention_answers)
    write_sealed(run.retention_reference, {"key": key, "sha256": sha256})
    return sha256


def frozen_reference(run: RunDirectory, key: str) -> str | None:
    """SHA-256 of the answers that were frozen under ``key``; None where there are none or they were changed."""
    record = read_sealed(run.retention_reference)
    path = run.retention_answers
    if record is None or record["key"] != key or not path.is_file() or file_hash(path) != record["sha256"]:
        return None
    return str(record["sha256"])


def load_reference(run: RunDirectory) -> list[ReferenceAnswer]:
    """Read the frozen answers.

    Raises:
        InputError: they are missing or are not those that were frozen.
    """
    record = read_sealed(run.retention_reference)
    if record is None or frozen_reference(run, record["key"]) is None:
        raise InputError(f"{run.retention_answers} is not the file that was frozen; run the same command again")
    records = [json.loads(line) for line in run.retention_answers.read_bytes().splitlines()]
    return [ReferenceAnswer(**entry | {"ids": tuple(entry["ids"])}) for entry in records]
