"""Workloads: which requests come for which model, and when; described, drawn from a seed, recorded, fitted, scaled."""
