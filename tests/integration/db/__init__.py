"""Tests of the queries, each on SQLite and on Postgres."""
