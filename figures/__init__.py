"""Pictures of a run, drawn from its files alone; one file per picture."""
