"""Flower on the farm's broker, for operators."""
