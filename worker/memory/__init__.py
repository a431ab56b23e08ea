"""Memory tiers: what a model needs on a device, which tier fits, and how a pipeline is put into it."""
