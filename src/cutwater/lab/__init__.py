"""Measuring models and machines; trials and what they are fed."""
