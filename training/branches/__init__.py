"""Training one branch from a spec: its examples, its order, its steps, and what is kept of it."""
