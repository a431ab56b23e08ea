"""An engine without a model: plain colours at once, and faults on demand, for load and chaos tests of the farm around it."""
