"""ONNX graphs: traced and kept, their weights, their self-test arrays, their work, their lint."""
