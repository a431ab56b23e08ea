"""Celery's application of a farm, for `celery -A imagefarm.celery inspect ...`; needs the extra `server` or `worker`.

Nothing else imports it: the client needs no Celery.
"""

from __future__ import annotations

from celery import Celery

from core.embedded_redis import url_in
from core.queue import celery_config
from core.settings import Settings


def make_app(settings: Settings) -> Celery:
    """Return an application for the Redis of the settings, else for that of the farm in the data directory."""
    url = settings.redis_url or url_in(settings.data_dir)
    made = Celery("imagefarm", set_as_current=False)
    made.conf.update(celery_config(settings.model_copy(update={"redis_url": url})))
    return made


app = make_app(Settings())
