"""Codecs: how a tensor is written for a hop, each with a declared error bound."""
