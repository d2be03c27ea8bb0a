"""One file per algorithm; the file name is its name on the command line."""
