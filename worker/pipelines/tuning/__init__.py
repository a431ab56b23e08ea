"""What makes a GPU fast: attention backend, products in 8 bits, compiled blocks. Tried out before the first request."""
