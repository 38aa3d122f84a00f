"""Where tasks come from: one source per file, each yielding rows of chat messages."""
