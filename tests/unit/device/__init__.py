"""Tests of device queries and device errors."""
