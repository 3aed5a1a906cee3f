"""What was measured, and prediction of what was not."""
