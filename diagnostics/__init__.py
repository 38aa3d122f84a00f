"""What happened in the real model, and does the theory's number match? Measurements on trained checkpoints."""
