"""What a bundle is: specs, families, the manifest and its schema, as data."""
