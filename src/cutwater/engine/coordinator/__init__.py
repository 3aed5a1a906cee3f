"""What decides for the cluster: who lives, who runs what, which ways lead through it."""
