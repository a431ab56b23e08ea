"""Z-Image: a transformer that takes lists of latents and captions of different lengths."""
