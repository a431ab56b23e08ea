"""An engine without a model for load and chaos tests of the farm: plain colours, and faults on demand."""
