"""The statements, one per file; `merit_theory.propositions.catalogue` lists them in the order of the paper."""
