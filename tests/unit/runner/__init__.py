"""The runner, without a database."""
