"""What is measured on every model: loss and answers on test items, and what was retained of the base model."""
