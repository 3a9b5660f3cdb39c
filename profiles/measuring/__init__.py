"""Figures from the machine: latencies, rounds, layers, sensors, clips, and their circumstances."""
