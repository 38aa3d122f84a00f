"""Pictures of one partition of a run: ``draw(run, partition)``."""
