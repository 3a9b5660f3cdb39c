"""From noise to latents: windows, the DDIM step, guidance, the loop over them."""
