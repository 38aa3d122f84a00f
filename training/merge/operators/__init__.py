"""Merge operators, one per file."""
