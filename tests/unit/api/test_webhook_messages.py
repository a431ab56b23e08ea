"""Bodies of webhook messages, and the names of events."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api import webhooks
from api.webhooks import message_body
from core.schemas.jobs import Job
from core.schemas.webhooks import JobWebhook
from db.jobs.read import Snapshot
from db.tables import WebhookDelivery

JOB: dict[str, Any] = {"id": "the job"}
DELIVERY = cast(WebhookDelivery, SimpleNamespace(event="job.failed", created_at=1_700_000_000.5))


@pytest.fixture(autouse=True)
def _one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "job_view", lambda snapshot: Job.model_construct(**JOB))


@pytest.mark.parametrize(
    ("standard", "expected"),
    [
        (True, {"type": "job.failed", "timestamp": "2023-11-14T22:13:20.500000Z", "data": {"id": "the job"}}),
        (False, {}),
    ],
)
def test_a_message_is_wrapped_unless_the_farm_sends_the_job_alone(standard: bool, expected: dict[str, Any]) -> None:
    body = json.loads(message_body(DELIVERY, cast(Snapshot, None), standard=standard))
    job = body["data"] if standard else body
    assert job["id"] == "the job"
    assert not standard or body == expected | {"data": job}


def test_events_are_taken_with_and_without_their_prefix() -> None:
    found = JobWebhook.model_validate({"url": "https://example.com/hook", "events": ["job.failed", "held", "failed"]})
    assert found.events == ["failed", "held"]
    with pytest.raises(ValueError, match="events"):
        JobWebhook.model_validate({"url": "https://example.com/hook", "events": ["job.running"]})
