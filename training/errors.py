"""The one error users see: bad input, said in one sentence that names the offender and the remedy."""


class InputError(ValueError):
    """Input that cannot be used as given; commands print its message on one line and exit with code 2."""
