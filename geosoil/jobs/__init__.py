"""Whole workflows: train, compare, map, info, demo."""
