"""What a measurement took."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of wall-clock, tokens that passed through the network forwards, and curvature products."""

    seconds: float
    tokens: int
    products: int


@dataclass(slots=True)
class Meter:
    """Counts what a diagnostic does while it runs, and tells whoever shows progress.

    ``report`` is called with tokens; a product counts as ``PASSES_PER_PRODUCT`` passes over its own.
    """

    report: Callable[[int], None] = lambda tokens: None
    tokens: int = 0
    products: int = 0
    began: float = field(default_factory=time.perf_counter)

    def advance(self, tokens: int) -> None:
        """``tokens`` more have passed through the network."""
        self.tokens += tokens
        self.report(tokens)

    def multiplied(self, tokens: int) -> None:
        """One more curvature product over ``tokens`` tokens is done."""
        self.products += 1
        self.report(PASSES_PER_PRODUCT * tokens)

    def cost(self) -> Cost:
        """All since it was made."""
        return Cost(round(time.perf_counter() - self.began, 3), self.tokens, self.products)


PASSES_PER_PRODUCT = 6
"""Forward passes that take as long as one product: two gradients of three each."""
