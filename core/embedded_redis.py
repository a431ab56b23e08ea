"""Where the Redis server that `imagefarm up` runs listens, read from its data directory."""

from __future__ import annotations

import contextlib
from pathlib import Path

HOST = "127.0.0.1"


def password_file(data_dir: Path) -> Path:
    """Return the file that holds the server's password."""
    return data_dir / "redis" / "password"


def url_for(port: int, password: str) -> str:
    """Return the URL with the password: hand it to processes in their environment only."""
    return f"redis://:{password}@{HOST}:{port}/0"


def url_in(data_dir: Path) -> str:
    """Return the URL where this data directory's server listens or last listened; empty when there was none."""
    with contextlib.suppress(OSError, ValueError):
        password = password_file(data_dir).read_text().strip()
        return url_for(int((data_dir / "redis" / "port").read_text()), password)
    return ""
