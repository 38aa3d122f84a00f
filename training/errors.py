"""The errors users see: bad input, said in one sentence that names the offender and the remedy."""


class InputError(ValueError):
    """Input that cannot be used as given; commands print its message on one line and exit with code 2."""


class MissingInput(InputError):
    """A file that a stage writes is not there yet; who draws everything there is passes over it."""
