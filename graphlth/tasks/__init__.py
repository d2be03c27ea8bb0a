"""One file per task; the file name is its name on the command line."""
