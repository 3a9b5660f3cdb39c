"""Which layers become int8: policies, smoothing, what each layer costs, the search for the fewest that stay float."""
