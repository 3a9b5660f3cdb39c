"""What ran when: spans, stages, and trace files."""
