"""Any other diffusers pipeline: called through its stock `__call__`, one request at a time."""
