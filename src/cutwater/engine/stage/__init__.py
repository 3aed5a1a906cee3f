"""What decides in a stage worker: queue, batches, credit."""
