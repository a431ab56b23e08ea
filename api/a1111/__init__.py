"""A1111 face: /sdapi/v1 over the same queue."""
