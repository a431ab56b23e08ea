"""Print figures as JSON lines."""

from __future__ import annotations

import json
from typing import Any


def report(figures: dict[str, Any]) -> None:
    """Print at once, so that an interrupted run keeps its figures."""
    print(json.dumps({name: round(v, 4) if isinstance(v, float) else v for name, v in figures.items()}), flush=True)
