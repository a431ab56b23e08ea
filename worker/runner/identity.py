"""Who this worker is: a name that is unique in the farm and comes back after a restart, and this life's own id."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field

from core.ids import new_id
from core.settings import Settings


@dataclass(frozen=True)
class Identity:
    """`name` outlives restarts; `incarnation` does not."""

    name: str
    incarnation: str = field(default_factory=new_id)


def identify(settings: Settings) -> Identity:
    """The configured name, else host and device (`CUDA_VISIBLE_DEVICES` tells cards of one host apart)."""
    device = settings.device
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None and device != "cpu":
        device = f"gpu{visible}"
    name = settings.worker_name or f"{socket.gethostname()}-{device}"
    return Identity(re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:100])
