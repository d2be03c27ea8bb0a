"""Scores of the hidden channels of networks of images."""
