"""Fault injection: the farm as separate processes, the breaker that kills them, and the audit afterwards."""
