"""Merging branches of one model: a streaming engine, one operator per file, Hugging Face folders in and out."""
