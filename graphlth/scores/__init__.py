"""One file per score; the file name is its name on the command line."""
