"""Tests of a whole farm with a synthetic engine: real API, Redis, workers, reaper and database, each interrupted in turn."""
