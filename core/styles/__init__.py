"""Styles: named texts around a prompt and its negative prompt, and the files that other tools keep them in."""

from core.styles.styles import BUILT_IN, Style, apply_styles

__all__ = ["BUILT_IN", "Style", "apply_styles"]
