"""The Open Inference Protocol over gRPC, as clients of Triton and KServe speak it."""
