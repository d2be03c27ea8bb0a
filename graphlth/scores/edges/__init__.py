"""Scores of edges."""
