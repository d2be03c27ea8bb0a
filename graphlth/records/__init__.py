"""Records, one line of JSON per run, seed and round: all that figures and reports read."""
