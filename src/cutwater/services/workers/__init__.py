"""Stage worker processes, and a pipeline of them on this machine."""
