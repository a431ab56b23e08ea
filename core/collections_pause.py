"""The end of the pause in garbage collections during which a process imports its modules."""

from __future__ import annotations

import gc


def collect_from_now() -> None:
    """Collect garbage from now on, and never among what exists: modules stay, and scanning them takes long."""
    gc.freeze()
    gc.enable()
