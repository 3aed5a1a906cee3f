"""The simulator: the same machines in virtual time, with hands that only reckon what things would take."""
