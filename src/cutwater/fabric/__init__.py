"""The messaging system underneath the control plane: one port, several implementations."""
