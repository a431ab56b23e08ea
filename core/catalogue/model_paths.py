"""Paths of model weights: the models directory, named folders, the hub's cache."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.settings import Settings

WEIGHTS = "weights"
"""Name of the folder of converted or built weights in a model's folder."""


def default_hub_cache() -> Path:
    """Return the cache folder of `huggingface_hub`, from the environment variables that it reads itself."""
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").expanduser() / "huggingface" / "hub"


@dataclass(frozen=True)
class ModelPaths:
    """`folders`: model id -> a local folder in diffusers' layout. `hub_cache`: the cache of `huggingface_hub`."""

    models_dir: Path
    folders: Mapping[str, Path] = field(default_factory=dict)
    hub_cache: Path = field(default_factory=default_hub_cache)

    @classmethod
    def of(cls, settings: Settings) -> ModelPaths:
        """Return the paths that the settings and the environment name."""
        return cls(settings.resolved_models_dir, dict(settings.model_folders))

    def weights(self, model_id: str) -> Path:
        """Return the folder of a model's weights in the models directory, whether or not it exists."""
        return self.models_dir / model_id / WEIGHTS

    def hub_repo(self, repo: str) -> Path:
        """Return the folder of a repository in the hub's cache, whether or not it exists."""
        return self.hub_cache / f"models--{repo.replace('/', '--')}"

    def hub_snapshot(self, repo: str, revision: str | None) -> Path | None:
        """Return the folder of a cached revision (a commit, a branch or a tag; None: main); None when it is not cached."""
        folder = self.hub_repo(repo)
        reference = folder / "refs" / (revision or "main")
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
        snapshot = folder / "snapshots" / commit if commit else None
        return snapshot if snapshot is not None and snapshot.is_dir() else None
