"""Stable Diffusion 1.x, 2.x and XL: UNets that take a timestep for each row of a pass."""
