"""Tests of the engine that need no torch or no process."""
