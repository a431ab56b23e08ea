"""Flower over the farm's broker: what operators see of the queue."""
