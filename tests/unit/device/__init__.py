"""Device questions and faults."""
