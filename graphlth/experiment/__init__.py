"""Experiments: runs of many seeds in a folder, and what is measured and exported of them."""
