"""The calibration room: it makes graphs small, and lints them for every engine."""
