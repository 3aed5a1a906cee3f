"""The command line: thin calls of the floors below, one file per command."""
