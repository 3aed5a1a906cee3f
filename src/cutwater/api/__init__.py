"""The public interface of a gateway: the Open Inference Protocol over HTTP and gRPC, and tasks on top of it."""
