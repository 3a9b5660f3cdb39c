"""Engine builders and vendors' parsers; no torch, since a board builds its engines itself."""
