"""Torch devices: selection, free memory, dtypes and the meaning of their errors."""
