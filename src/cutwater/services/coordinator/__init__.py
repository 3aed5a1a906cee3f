"""The coordinator process and its planner."""
