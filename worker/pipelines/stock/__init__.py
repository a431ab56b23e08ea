"""Any other diffusers pipeline: called as it is, one request at a time."""
