"""Inference engines behind one port; one file per engine."""
