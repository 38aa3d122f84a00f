"""Tables in Markdown, names to the left and numbers to the right."""

from collections.abc import Sequence


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose first column is aligned left and the others right.

    >>> markdown_table(["arm", "loss"], [["joint", "1.383"]])
    ['| arm | loss |', '| :-- | --: |', '| joint | 1.383 |']
    """
    rule = [":--" if column == 0 else "--:" for column in range(len(head))]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]
