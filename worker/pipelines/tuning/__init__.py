"""Tuning for GPUs before the first request: attention backend, 8-bit matmul, compiled blocks."""
