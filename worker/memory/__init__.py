"""Memory tiers: what a model needs on a device, which tier fits, and how a tier is applied to a pipeline."""
