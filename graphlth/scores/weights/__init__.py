"""Scores of weights."""
