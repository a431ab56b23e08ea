"""Simulated memory of a full-size Z-Image: its tiers' allocations on a GPU, counted on torch's meta device."""
