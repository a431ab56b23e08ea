"""A full-size Z-Image without numbers: what its tiers allocate on a card, counted on torch's meta device."""
