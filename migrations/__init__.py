"""Alembic migrations; they never import the tables."""
