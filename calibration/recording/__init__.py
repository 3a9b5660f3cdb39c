"""Calibration sets: real inputs of every network, recorded along the true sampler trajectory."""
