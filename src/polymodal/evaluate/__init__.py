"""Scores, their intervals, and comparisons."""
