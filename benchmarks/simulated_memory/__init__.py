"""Simulated memory of a full-size Z-Image: its tiers' allocations on a card, counted on torch's meta device."""
