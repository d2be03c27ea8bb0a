"""One file per model; the file name is its name on the command line."""
