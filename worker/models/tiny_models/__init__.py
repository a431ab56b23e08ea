"""Tiny random-weight models of every family, with the classes, files and loader of the real models."""

from worker.models.tiny_models.build import TINY_MODELS, build_tiny_model

__all__ = ["TINY_MODELS", "build_tiny_model"]
