"""The six networks as torch modules, and their tracing to ONNX; one of the two places where torch lives."""
