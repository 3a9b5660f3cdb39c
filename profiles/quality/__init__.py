"""How good pictures are: closeness, colours, flicker, lip-sync.

This wing knows frames and curves, and no particular model.
"""
