"""Background reconciliation: requeue expired leases, republish lost hints, delete jobs past their retention."""
