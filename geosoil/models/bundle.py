"""Bundle: all that was fitted, and the card that says on what; one safe file on disk."""
