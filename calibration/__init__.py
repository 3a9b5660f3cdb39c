"""The calibration room.

What makes graphs small, and the lint that keeps them acceptable to every engine.
"""
