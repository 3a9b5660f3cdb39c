"""Graphs judged before an engine sees them: our own rules, Q/DQ, and TensorRT's operators."""
