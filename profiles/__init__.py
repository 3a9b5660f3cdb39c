"""The profiling room: how fast something is, with the circumstances of every figure."""
