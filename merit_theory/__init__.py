"""What is true about merging: statements as code. The modules are the namespace; the NumPy ones run in the pipeline."""
