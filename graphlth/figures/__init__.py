"""Figures, one file each: they read records and nothing else, so they draw without torch."""
