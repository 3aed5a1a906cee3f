"""Everything that can be set, declared once: a file, the environment and flags are read by the same declaration."""
