"""Have the weights that `auto` would choose looked at once, in a process of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from core.catalogue.model_paths import ModelPaths
from core.catalogue.presence import is_checked, resolve_auto
from core.child_python import child_environment, module_command
from core.extras import is_installed
from core.settings import Settings


def ensure_auto_checked(settings: Settings, tell: Callable[[str], None]) -> None:
    """Start `worker.models.auto_check` where `auto` would choose weights that were not looked at since they changed.

    It takes seconds, and `tell` gets a line before. The answers are kept in the models directory; where that cannot be
    written, nothing is started, and the load finds what is missing.
    """
    if settings.model != "auto" or settings.renderer == "synthetic" or not is_installed("worker"):
        return
    model, model_paths = resolve_auto(settings).model, ModelPaths.of(settings)
    if model.built_locally or is_checked(model, model_paths) or not _can_write(model_paths.models_dir):
        return
    tell(f"looking for missing tensors in the weights of {model.id}, once")
    variables = {
        "IMAGEFARM_MODEL": settings.model,
        "IMAGEFARM_DATA_DIR": str(settings.data_dir),
        "IMAGEFARM_MODELS_DIR": str(model_paths.models_dir),
    }
    command = module_command("worker.models.auto_check")
    subprocess.run(
        command, env=child_environment() | variables, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def _can_write(folder: Path) -> bool:
    """Return whether the folder can be written, or made where it does not exist yet."""
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    return os.access(nearest, os.W_OK)
