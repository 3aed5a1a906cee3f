"""Drills: real faults in a real cluster on this machine, under load."""
