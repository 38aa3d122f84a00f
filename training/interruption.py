"""Being stopped: not an error, and nothing is lost."""


class Interrupted(Exception):
    """Work stopped before its end in a state that the same command continues from; commands exit with code 130."""
