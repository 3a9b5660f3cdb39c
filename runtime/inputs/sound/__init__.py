"""Sound as files hold it: what a file is, where its recordings lie, its tracks, one mono voice."""
