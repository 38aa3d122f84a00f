"""Names of tasks as pictures show them."""


def shortened(name: str, limit: int) -> str:
    """``name`` in at most ``limit`` characters, cut in the middle: names of a family differ at either end.

    >>> shortened("gcd", 11), shortened("calendar_arithmetic", 11)
    ('gcd', 'calen…metic')
    """
    if len(name) <= limit:
        return name
    tail = (limit - 1) // 2
    return f"{name[: limit - 1 - tail]}…{name[len(name) - tail :]}"
