"""Figures as JSON, a line each."""

from __future__ import annotations

import json
from typing import Any


def report(figures: dict[str, Any]) -> None:
    """Printed at once: a run that is cut off keeps what it had."""
    print(json.dumps({name: round(v, 4) if isinstance(v, float) else v for name, v in figures.items()}), flush=True)
