"""Whether another worker of the model stands idle: asked before each further job, so the answer is kept for a moment."""

from __future__ import annotations

import time

from db import workers
from db.database import Database

REMEMBERED_SECONDS = 0.05


class Colleagues:
    """Two threads may ask at once and both look; nothing worse comes of it."""

    def __init__(self, database: Database, model: str, me: str) -> None:
        self._database = database
        self._model = model
        self._me = me
        self._known: tuple[float, bool] = (float("-inf"), False)

    def is_one_idle(self) -> bool:
        """As the database said no more than a moment ago; raises Unavailable."""
        asked_at, answer = self._known
        if time.monotonic() - asked_at > REMEMBERED_SECONDS:
            answer = workers.idle_worker_exists(self._database, self._model, besides=self._me)
            self._known = (time.monotonic(), answer)
        return answer
