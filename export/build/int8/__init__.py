"""The int8 build: what each network is stored and computed in, proven on frames."""
