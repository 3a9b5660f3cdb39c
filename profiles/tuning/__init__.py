"""Which steps, overlap and arithmetic suit a bundle: measured, judged, and the quickest chosen."""
