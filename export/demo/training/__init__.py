"""Training the demo character from drawings and synthetic speech."""
