"""The Python client: one way to ask models, over HTTP, gRPC or a native link."""
