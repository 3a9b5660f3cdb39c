"""The quality gates of a talking portrait: what is measured on held-out people, and its limits."""
