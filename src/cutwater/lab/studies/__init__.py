"""Studies: placements of many models held against each other on the same requests, simulated and live."""
