"""Run jobs from hint to stored images: claim, render through the engine, store, finish; renew leases meanwhile."""
