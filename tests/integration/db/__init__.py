"""Tests of the database's promises, each on SQLite and on Postgres."""
