"""Benchmarks of lm-evaluation-harness (MMLU, ARC, …) on the arms of a run, with paired intervals."""
