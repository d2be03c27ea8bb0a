"""One file per measure; the file name is its name on the command line."""
