"""Background reconciliation: requeues expired leases, republishes lost hints, deletes what is past its retention."""
