"""Facts, not code."""
