"""How long a worker waits before it tries again to reach Redis."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from core.settings import Settings
from tests.servers.ports import free_port
from worker.hints.consumer import MAX_PAUSE_SECONDS, HintConsumer, make_celery


def test_pauses_stay_short_however_long_redis_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda seconds: None)
    app = make_celery(Settings(_env_file=None, data_dir=tmp_path, redis_url=f"redis://127.0.0.1:{free_port()}/0"))
    app.conf.broker_connection_max_retries = 20
    consumer = HintConsumer.__new__(HintConsumer)
    consumer.app, consumer.first_connection_attempt, consumer.broker_connection_retry_attempt = app, False, 0
    with caplog.at_level(logging.ERROR), pytest.raises(OperationalError):
        consumer.connection_for_read()
    pauses = [float(found[1]) for found in map(re.compile(r"in ([\d.]+) seconds").search, caplog.messages) if found]
    assert len(pauses) == 20 and pauses == sorted(pauses) and max(pauses) == MAX_PAUSE_SECONDS
