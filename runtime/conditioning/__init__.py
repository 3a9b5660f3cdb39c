"""What the denoiser is given: audio tokens, the reference's keys and values, what drives the face."""
