"""Alembic migrations. A migration never imports db.tables, which change after it."""
