"""Fitted models and how to fit them; the only place for torch."""
