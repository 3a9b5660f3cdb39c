"""What values a network's tensors take: taps in its graph, histograms, ranges, overflows."""
