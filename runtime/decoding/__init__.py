"""From latents to pixels."""
