"""Whether another worker of the model stands idle: asked before each further job, so the answer is kept for a moment."""

from __future__ import annotations

import threading
import time

from db import workers
from db.database import Database

REMEMBERED_SECONDS = 0.1


class Colleagues:
    """Thread-safe: of many threads that ask at once, one looks."""

    def __init__(self, database: Database, model: str, me: str) -> None:
        self._database = database
        self._model = model
        self._me = me
        self._looking = threading.Lock()
        self._looked_at = float("-inf")
        self._answer = False

    def is_one_idle(self) -> bool:
        """As the database said no more than a moment ago; raises Unavailable."""
        with self._looking:
            if time.monotonic() - self._looked_at > REMEMBERED_SECONDS:
                self._answer = workers.idle_worker_exists(self._database, self._model, besides=self._me)
                self._looked_at = time.monotonic()
            return self._answer
