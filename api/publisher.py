"""What the API tells the farm over Redis: hints for workers, news for whoever watches."""

from __future__ import annotations

from celery import Celery
from redis import Redis

from api.outbox import Outbox
from core.broker import celery_config
from core.queue import RENDER_TASK, RedisKeys, change_message, render_queue, shown_in_flower
from core.settings import Settings
from db.database import Database
from db.hints import forget_hint
from db.tables import Job

_TIMEOUT_SECONDS = 1.0


class Publisher:
    """Call after the commit. Nothing here waits for Redis or raises: the reaper publishes again what was lost."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._keys = RedisKeys(settings.redis_prefix)
        self._celery = _celery(settings)
        self._redis = Redis.from_url(
            settings.redis_url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS
        )
        self.outbox = Outbox()

    def hint(self, job: Job) -> None:
        """Tells a worker that there is work; Flower shows the hint as a task of this job."""
        job_id, model, shown = job.id, job.model, shown_in_flower(job.model, job.input)
        self.outbox.send(lambda: self._send_task(job_id, model, shown), undo=lambda: forget_hint(self._database, job_id))

    def changed(self, job: Job) -> None:
        """Tells other API processes that the job has a new revision."""
        message = change_message(job.id, job.revision, job.status)
        self.outbox.send(lambda: self._redis.publish(self._keys.changes, message))

    def cancel_requested(self, job: Job) -> None:
        """Tells the worker that holds the job; without it the worker learns at its next heartbeat."""
        job_id = job.id
        self.outbox.send(lambda: self._redis.publish(self._keys.cancels, job_id))

    def close(self) -> None:
        """Sends what waits, then closes the connections."""
        self.outbox.close()
        self._redis.close()
        self._celery.close()

    def _send_task(self, job_id: str, model: str, shown: dict[str, object]) -> None:
        self._celery.send_task(
            RENDER_TASK,
            args=(job_id,),
            kwargs=shown,
            task_id=job_id,
            queue=render_queue(model),
            headers={"deferrals": 0},
            retry=False,
        )


def _celery(settings: Settings) -> Celery:
    app = Celery("imagefarm-api", set_as_current=False)
    app.conf.update(celery_config(settings))
    app.conf.broker_transport_options = app.conf.broker_transport_options | {
        "socket_timeout": _TIMEOUT_SECONDS,
        "socket_connect_timeout": _TIMEOUT_SECONDS,
        "max_retries": 0,
    }
    return app
