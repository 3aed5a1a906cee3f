"""The node agent: offers a machine to a cluster and runs what it is assigned."""
