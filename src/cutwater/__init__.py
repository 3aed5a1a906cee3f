"""Cutwater: cut a neural network at the best places and run it across the machines you have."""

__version__ = "0.1.0"
