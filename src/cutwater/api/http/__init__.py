"""The Open Inference Protocol over HTTP: the routes, what they answer, and the server underneath."""
