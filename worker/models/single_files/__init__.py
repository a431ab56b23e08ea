"""Load a pipeline's components from single weight files, as users hold them."""
