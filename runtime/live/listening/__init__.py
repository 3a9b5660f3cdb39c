"""What is heard of a voice that comes in chunks."""
