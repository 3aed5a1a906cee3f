"""Load: what is sent to models when it is due, what came of it, and how much of it they bear."""
