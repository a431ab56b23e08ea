"""Tables and queries: the only package that writes a job's state."""
