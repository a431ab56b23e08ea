"""Graphs of ComfyUI."""
