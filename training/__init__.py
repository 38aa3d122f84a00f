"""From a mixture of tasks to merged models: conflicts, partition, branches, merge, evaluation (arXiv 2606.01717)."""
