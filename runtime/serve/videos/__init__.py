"""Jobs for videos: a portrait and a voice in, an mp4 out, beside live sessions."""
