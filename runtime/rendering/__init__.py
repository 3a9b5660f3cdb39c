"""From a portrait and a voice to frames, offline."""
