"""A graph judged before an engine sees it: read without onnx, and held to what we write."""
