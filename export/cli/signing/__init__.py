"""Who signed a bundle, on the command line: sign, trust, and what all that open one ask."""
