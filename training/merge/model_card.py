"""The README.md of a merged model: a Hugging Face model card."""

import json
import re
from collections.abc import Sequence


def model_card(
    operator: str,
    names: Sequence[str],
    weights: Sequence[float] | None,
    *,
    base_model: str | None = None,
    tasks: Sequence[Sequence[str]] | None = None,
) -> str:
    """Markdown with YAML front matter that says what was merged.

    Args:
        operator: name of the merge operator.
        names: one name per branch.
        weights: one weight per branch; None for an operator that takes none.
        base_model: hub name of the model that all branches began from, if known.
        tasks: the tasks each branch was trained on, if known.
    """
    front = ["library_name: transformers", "tags:", "- merge", "- merit"]
    if base_model is not None:
        # A JSON string of printable characters is a YAML string, whatever it contains.
        front.append(f"base_model: {json.dumps(_printable(base_model), ensure_ascii=False)}")
    columns, rows = ["branch"], [[_escaped(name)] for name in names]
    if weights is not None:
        columns.append("weight")
        rows = [[*row, f"{weight:.6g}"] for row, weight in zip(rows, weights, strict=True)]
    if tasks is not None:
        columns.append("tasks")
        rows = [[*row, ", ".join(map(_escaped, own))] for row, own in zip(rows, tasks, strict=True)]
    table = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        [
            "---",
            *front,
            "---",
            "",
            "# Merged model",
            "",
            f"A {_escaped(operator)} merge of {len(names)} branches of one model; `provenance.json` identifies each.",
            "",
            *(f"| {' | '.join(row)} |" for row in table),
            "",
        ]
    )


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _escaped(text: str) -> str:
    r"""Text that Markdown shows as it is.

    >>> print(_escaped("a|b <i>_x_"))
    a\|b \<i\>\_x\_
    """
    return re.sub(r"[!-+:-@\[-`{-~]", r"\\\g<0>", _printable(text))
