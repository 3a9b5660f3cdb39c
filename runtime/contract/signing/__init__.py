"""Who vouches for a bundle: keys, signatures beside a manifest, and lists of whom to trust."""
