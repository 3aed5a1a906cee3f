"""The demonstration: a cluster of three nodes on this machine, of which one is killed while pictures stream through."""
