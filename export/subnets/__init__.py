"""The six networks as torch modules, and their tracing to ONNX.

One of the two places where torch lives.
"""
