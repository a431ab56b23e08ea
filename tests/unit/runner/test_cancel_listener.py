"""The listener for cancels: it hears them, and its stop waits for no message."""

from __future__ import annotations

from unittest.mock import patch

from redis import Redis

from core.queue import RedisKeys
from core.settings import Settings
from worker.runner import cancel_listener
from worker.runner.attempts import InFlightAttempts
from worker.runner.cancel_listener import CancelListener


class Heard(InFlightAttempts):
    """Attempts that note for which job a message came, and stop the test's publisher then."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[str] = []

    def post_to_job(self, job_id: str, message: object) -> None:
        self.jobs.append(job_id)


def test_a_stop_ends_the_wait_for_a_message(redis_url: str) -> None:
    settings = Settings(_env_file=None, redis_url=redis_url, redis_prefix="cancels-test:")
    heard = Heard()
    with patch.object(cancel_listener, "QUIET_SECONDS", 3600.0), Redis.from_url(redis_url) as publisher:
        listener = CancelListener(settings, heard)
        listener.start()
        while publisher.publish(RedisKeys(settings.redis_prefix).cancels, "job") == 0 or not heard.jobs:
            assert listener._thread.is_alive()
        listener._thread.join(0.05)
        listener.stop()
        assert not listener._thread.is_alive()
    assert heard.jobs[0] == "job"
