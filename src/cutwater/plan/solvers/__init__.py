"""Ways to find a plan, one small file each, all judged by the one cost model."""
