"""What does the model predict? Experiments on the theory, each a frozen configuration and its saved result."""
