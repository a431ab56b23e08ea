"""The name of this machine in a farm, and of the workers that it runs for a device."""

from __future__ import annotations

import re
import socket

from core.settings import Settings

_ODD = re.compile(r"[^A-Za-z0-9._-]+")
MOST_CHARS = 100


def node_name(settings: Settings) -> str:
    """Return the setting `node_name`, else the host name, with `-` for characters that names cannot have."""
    return _ODD.sub("-", settings.node_name or socket.gethostname() or "host")[:MOST_CHARS]


def worker_name_for(node: str, device: str) -> str:
    """Return the name of the worker of a device, such as `studio-cuda0`."""
    return f"{node}-{_ODD.sub('', device.replace(':', ''))}"
