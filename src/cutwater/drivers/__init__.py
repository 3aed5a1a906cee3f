"""Hands for the machines: links and the loops that obey commands."""
