"""PDF reading in worker processes."""
