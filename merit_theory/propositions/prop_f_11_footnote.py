"""Proposition F.11, footnote: how often the signs of an eigenvector are balanced by themselves."""

import numpy as np

from merit_theory.propositions.proposition import Demonstration, Outcome, Proposition

DRAWS = 20_000


def _balanced_share(rng: np.random.Generator) -> Outcome:
    """The share of random unit vectors at right angles to 1 with as many positive as negative entries."""
    shares = {}
    for n_tasks in (8, 16, 66, 136):
        vectors = rng.standard_normal((DRAWS, n_tasks))
        vectors -= vectors.mean(axis=1, keepdims=True)
        shares[n_tasks] = float(((vectors > 0).sum(axis=1) == n_tasks // 2).mean())
    numbers = ", ".join(f"{share:.3f} (N = {n})" for n, share in shares.items())
    falls = all(np.diff(list(shares.values())) < 0)
    return Outcome(bool(falls) and shares[136] < 0.15, numbers)


PROPOSITION = Proposition(
    id="prop-f.11-footnote",
    reference="Proposition F.11, footnote",
    statement="The signs of the first eigenvector are balanced with high probability.",
    scope="conceptual",
    verdict="not derivable",
    demonstrations=(Demonstration("share of balanced sign vectors among generic axes", _balanced_share),),
)
