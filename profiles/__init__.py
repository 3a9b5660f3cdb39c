"""The profiling room: how fast something is, with the conditions it was measured under."""
