"""A model file in, a Graph out: ops, tensors, sizes, FLOPs and a hash."""
