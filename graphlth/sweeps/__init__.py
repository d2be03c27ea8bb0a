"""Sweeps: the runs of a file, computed by the processes of this machine or of a cluster."""
