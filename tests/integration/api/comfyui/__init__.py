"""Tests of ComfyUI's calls."""
