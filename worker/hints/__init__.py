"""Hints: messages that wake a worker for a job; the database decides which job it runs."""
