"""Published figures and tables, each reproduced by one command."""
