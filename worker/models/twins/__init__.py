"""Tiny random-weight twins of every family: same classes, same files and same loader as the real models."""

from worker.models.twins.build import TWINS, build_twin

__all__ = ["TWINS", "build_twin"]
