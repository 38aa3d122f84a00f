"""Which tasks pull apart, and the groups that makes of them: one pass over each task's gradients, and the rules."""
