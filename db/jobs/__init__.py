"""Queries on jobs, one module per verb; every change of status goes through `transition`."""
