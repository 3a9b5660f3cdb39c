"""What the builders of TensorRT and TensorRT-RTX share: child processes, memory, timing caches."""
