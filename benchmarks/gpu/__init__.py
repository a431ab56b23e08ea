"""Speed, peak memory and load time of a full-size Z-Image with random weights on a CUDA device."""
