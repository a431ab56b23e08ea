"""Tests of the web page in a real browser over a real farm."""
