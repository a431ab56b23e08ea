"""Queries on jobs, one module for each operation; `transition` makes every change of status."""
