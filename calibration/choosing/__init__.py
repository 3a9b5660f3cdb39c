"""Which layers become int8: by policy, by smoothing, and by what each layer costs."""
