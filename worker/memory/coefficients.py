"""Correction factors of the activation estimate, learned from recorded peaks by model, tier and GPU."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

FILE_NAME = "memory.json"
ESTIMATE_VERSION = 2
"""Increase it when the activation estimate changes: stored corrections of other versions are ignored."""
MIN_COEFFICIENT, MAX_COEFFICIENT = 0.25, 4.0
DECAY = 0.1
"""Share by which a lower peak moves the coefficient; a higher one applies in full at once."""


class Coefficients:
    """Coefficients kept as JSON in the models directory, by "model|policy|device". 1.0 means no correction."""

    def __init__(self, models_dir: Path) -> None:
        self._path = models_dir / FILE_NAME

    def get(self, model_id: str, policy: str, device: str) -> float:
        """Return the factor to multiply estimated activations by."""
        return self._read().get(_key(model_id, policy, device), 1.0)

    def record(self, model_id: str, policy: str, device: str, estimated: int, measured: int) -> float:
        """Learn from one peak and return the new coefficient.

        Both arguments are bytes of activations; `estimated` is the value before any correction.
        """
        if estimated <= 0 or measured < 0:
            return self.get(model_id, policy, device)
        values = self._read()
        key = _key(model_id, policy, device)
        seen = min(max(measured / estimated, MIN_COEFFICIENT), MAX_COEFFICIENT)
        old = values.get(key)
        value = seen if old is None or seen > old else old + DECAY * (seen - old)
        self._write(values | {key: round(value, 4)})
        return value

    def _read(self) -> dict[str, float]:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if (
            not isinstance(data, dict)
            or data.get("estimate") != ESTIMATE_VERSION
            or not isinstance(data.get("coefficients"), dict)
        ):
            return {}
        return {str(key): float(value) for key, value in data["coefficients"].items() if isinstance(value, int | float)}

    def _write(self, values: dict[str, float]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".memory.", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"estimate": ESTIMATE_VERSION, "coefficients": values}, file, indent=1, sort_keys=True)
        Path(name).replace(self._path)


def _key(model_id: str, policy: str, device: str) -> str:
    return f"{model_id}|{policy}|{device}"
