"""A row: one example of a task, as chat messages."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.errors import InputError

ROLES = ("system", "user", "assistant", "tool")
COLUMN_PAIRS = (("prompt", "response"), ("prompt", "completion"), ("question", "answer"), ("instruction", "output"))


@dataclass(frozen=True, slots=True)
class Row:
    """One example; ``entry`` carries what the task's own scorer needs besides the answer."""

    messages: tuple[dict[str, str], ...]
    entry: dict[str, Any] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """Everything before the last answer, in canonical JSON: what must not be shared between splits."""
        return json.dumps(self.messages[:-1], sort_keys=True, ensure_ascii=False)

    @property
    def answer(self) -> str:
        """The last assistant message."""
        return self.messages[-1]["content"]


def single_turn(question: str, answer: str, entry: dict[str, Any] | None = None) -> Row:
    """A row of one user message and its answer."""
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return Row(messages, entry or {})


def row_from_record(record: Any, where: str) -> Row:
    """Read a record with ``messages`` or with prompt and response columns.

    Args:
        record: one JSON object or table row.
        where: names the record in errors, such as ``data.jsonl:3``.

    Raises:
        InputError: neither form, a malformed message, or an answer that is missing or empty.
    """
    if not isinstance(record, Mapping):
        raise InputError(
            f"{where}: expected a JSON object with 'messages' or prompt and response, got {type(record).__name__}"
        )
    if record.get("messages") is not None:
        row = Row(tuple(_message(message, where) for message in _as_list(record["messages"], where)))
    else:
        row = _from_columns(record, where)
    if len(row.messages) < 2 or row.messages[-1]["role"] != "assistant":
        raise InputError(
            f"{where}: the last message is not an assistant answer to something; add the answer or drop the row"
        )
    if any("\ud800" <= character <= "\udfff" for message in row.messages for character in message["content"]):
        raise InputError(f"{where}: a text holds half a surrogate pair, which UTF-8 cannot hold; repair the escape")
    if not row.answer.strip():
        raise InputError(f"{where}: the assistant answer is empty; give an answer or drop the row")
    return row


def _as_list(messages: Any, where: str) -> Sequence[Any]:
    if isinstance(messages, str) or not isinstance(messages, Sequence):
        raise InputError(f"{where}: 'messages' is not a list of {{role, content}} objects")
    return messages


def _message(message: Any, where: str) -> dict[str, str]:
    role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
    if role not in ROLES or not isinstance(content, str):
        raise InputError(f"{where}: a message needs a role among {', '.join(ROLES)} and a text content")
    return {"role": role, "content": content}


def _from_columns(record: Mapping[str, Any], where: str) -> Row:
    for prompt, response in COLUMN_PAIRS:
        if prompt in record and response in record:
            texts = record[prompt], record[response]
            if not all(isinstance(text, str) for text in texts):
                raise InputError(f"{where}: columns {prompt!r} and {response!r} must hold text")
            return single_turn(*texts)
    pairs = ", ".join("/".join(pair) for pair in COLUMN_PAIRS)
    raise InputError(f"{where}: found columns {sorted(map(str, record))}; rename them to 'messages' or one of {pairs}")
