"""How sure a difference between arms is: over items, tasks, partitions, seeds and mixtures, as far as each was varied.

Everything here takes arrays and returns frozen results that carry their numbers of samples and a one-sentence verdict;
``training.results.comparison`` fills them from the files of run directories.
"""
