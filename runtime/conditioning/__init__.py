"""What the denoiser is given: audio tokens, reference keys and values, what drives the face."""
