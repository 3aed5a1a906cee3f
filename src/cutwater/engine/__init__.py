"""What decides while requests flow: pure machines that turn events into commands."""
