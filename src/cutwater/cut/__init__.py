"""Legal cuts of a Graph, their borders, and the Stages between them."""
