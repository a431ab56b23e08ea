"""A load generator with little overhead."""
