"""Frames drawn one block after another, forwards only."""
