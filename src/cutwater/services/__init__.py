"""Processes: stage workers, and a whole pipeline of them on this machine."""
