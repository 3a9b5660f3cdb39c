"""Model families as data, one file for each."""
