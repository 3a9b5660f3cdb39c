"""Graphs written anew: Q/DQ pairs, folded weights, float islands, switches for single layers."""
