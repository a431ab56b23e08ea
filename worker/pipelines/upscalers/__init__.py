"""Upscalers: networks that enlarge a finished image, computed tile by tile."""
