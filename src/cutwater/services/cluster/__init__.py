"""A whole cluster from its home: processes in the background, members, what it does."""
