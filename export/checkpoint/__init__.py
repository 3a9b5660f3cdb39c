"""Reading an EchoMimic v1 checkpoint folder: lazily, as data, with every mismatch named."""
