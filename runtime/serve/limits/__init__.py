"""What strangers may take of the server: memory, and time."""
