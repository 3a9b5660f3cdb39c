"""How good pictures are: closeness, colours, flicker, lip-sync.

Knows frames and curves, and of no particular model.
"""
