"""The gateway process: clients on one side, workers on the other; and the client's end."""
