"""Tests of client/, the commands on it and the Python call, against real farms."""
