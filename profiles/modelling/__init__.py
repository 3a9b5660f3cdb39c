"""Figures from arithmetic: the roofline, demand and pace, and forecasts for other boards."""
