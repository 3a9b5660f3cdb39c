"""What a user gives: voices, portraits, faces and poses, read and checked."""
