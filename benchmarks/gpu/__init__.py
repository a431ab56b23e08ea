"""A full-size Z-Image with random weights on a CUDA card: its speed, its peaks, how long it takes to load."""
