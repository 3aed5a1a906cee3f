"""The page at the gateway's address on which people see a cluster run, and change how it does."""
