"""Look for missing tensors in the weights that `auto` would choose, so that it passes over those that cannot be loaded.

`python -m worker.models.auto_check` does it with the settings of the environment; the memory is free when it ends.
"""

from __future__ import annotations

from core.catalogue import ModelPaths, resolve_auto
from core.settings import Settings
from worker.models.status import model_status


def check_auto(settings: Settings) -> None:
    """Check the model that `auto` resolves to, then the one that takes its place, until one is in order."""
    looked_at: set[str] = set()
    while (model := resolve_auto(settings).model).id not in looked_at:
        looked_at.add(model.id)
        model_status(model, ModelPaths.of(settings))


if __name__ == "__main__":
    check_auto(Settings())
