"""The client reads the event stream that the API writes, and reconnects without gaps or repetitions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from api.routes.job_events import event
from core.errors import FarmError, Unavailable
from core.lifecycle import JobStatus
from core.schemas.jobs import JobHistoryEvent, Progress
from imagefarm import Preview, Progressed, StatusChanged
from imagefarm.address import Address
from imagefarm.events import follow
from imagefarm.transport import Transport

CLOSED = httpx.ReadError("closed")
RETRY = b"retry: 2000\n\n"
KEEP_ALIVE = b": still here\n\n"
PROGRESS = Progress(value=0.5, step=4, steps=8)


class Body(httpx.SyncByteStream):
    """Chunks of a response, then an error unless the stream ends cleanly."""

    def __init__(self, chunks: list[bytes], error: httpx.TransportError | None) -> None:
        self._chunks = chunks
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._error is not None:
            raise self._error


class ScriptedFarm:
    """Answers each connection with the next script: chunks, and the error that ends them."""

    def __init__(self, *scripts: tuple[list[bytes], httpx.TransportError | None]) -> None:
        self.scripts = list(scripts)
        self.last_ids: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.last_ids.append(request.headers.get("last-event-id"))
        if not self.scripts:
            return httpx.Response(204)
        chunks, error = self.scripts.pop(0)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Body(chunks, error))


def transport_to(farm: Any, retry_seconds: float = 5.0) -> Transport:  # noqa: ANN401 -- a handler of httpx
    transport = Transport(Address("http://farm"), retry_seconds, None)
    transport._http = httpx.Client(base_url="http://farm", transport=httpx.MockTransport(farm))
    return transport


def change(revision: int, message: str | None = None) -> bytes:
    row = JobHistoryEvent(
        revision=revision,
        at=datetime(2026, 11, 1, tzinfo=UTC),
        from_status=None,
        to_status=JobStatus.QUEUED,
        attempt=0,
        worker=None,
        code=None,
        message=message,
    )
    return event("status", row, str(revision))


def revisions(farm: ScriptedFarm, **options: float) -> list[int]:
    events = follow(transport_to(farm, **options), "/events", previews=False)
    return [each.change.revision for each in events if isinstance(each, StatusChanged)]


def test_events_are_typed_and_unknown_ones_comments_and_retry_hints_are_skipped() -> None:
    preview = event("preview", {"index": 1, "media_type": "image/png", "data": "iVBO"})
    unknown = event("of-a-later-version", {"x": 1})
    farm = ScriptedFarm(([RETRY, change(2), KEEP_ALIVE, event("progress", PROGRESS), preview, RETRY, unknown], None))
    events = list(follow(transport_to(farm), "/events", previews=False))
    assert isinstance(events[0], StatusChanged)
    assert events[1:] == [Progressed(PROGRESS), Preview(1, "image/png", b"\x89PN")]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_characters_split_over_chunks_and_unicode_line_separators_arrive_intact(size: int) -> None:
    text = "一只猫 🦊 é\u2028\u2029\x85 end"
    stream = RETRY + change(1, text)
    farm = ScriptedFarm(([stream[start : start + size] for start in range(0, len(stream), size)], None))
    events = list(follow(transport_to(farm), "/events", previews=False))
    assert [each.change.message for each in events if isinstance(each, StatusChanged)] == [text]


def test_an_event_that_was_cut_off_is_not_delivered_but_requested_again() -> None:
    farm = ScriptedFarm(([change(1), change(2)[:-5]], CLOSED), ([change(2), change(3)], None))
    assert revisions(farm) == [1, 2, 3]
    assert farm.last_ids == [None, "1", "3"]


def test_a_connection_without_events_keeps_the_last_id() -> None:
    farm = ScriptedFarm(([RETRY, change(4)], CLOSED), ([RETRY, KEEP_ALIVE], CLOSED), ([RETRY, change(5)], CLOSED))
    assert revisions(farm) == [4, 5]
    assert farm.last_ids == [None, "4", "4", "5"]


def test_keep_alives_of_a_queued_job_renew_the_retry_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    class QueuedFarm(ScriptedFarm):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            response = super().__call__(request)
            clock[0] += 600.0  # the job waits for ten minutes, the farm sends keep-alives, then it restarts
            return response

    farm = QueuedFarm(([RETRY, change(1), KEEP_ALIVE], CLOSED), ([RETRY, KEEP_ALIVE], CLOSED), ([RETRY, change(2)], None))
    assert revisions(farm, retry_seconds=60.0) == [1, 2]


def test_a_farm_that_closes_every_stream_at_once_exhausts_the_budget() -> None:
    farm = ScriptedFarm(*[([RETRY], CLOSED)] * 1000)
    with pytest.raises(Unavailable):
        revisions(farm, retry_seconds=0.3)
    assert len(farm.last_ids) < 20


def test_a_page_that_is_not_an_event_stream_is_not_a_farm() -> None:
    def page(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, html="<p>hello</p>")

    with pytest.raises(FarmError) as caught:
        list(follow(transport_to(page), "/events", previews=False))
    assert caught.value.code == "not_a_farm"


def test_an_event_with_wrong_data_is_not_from_a_farm() -> None:
    farm = ScriptedFarm(([b"event: progress\ndata: " + json.dumps({"x": 1}).encode() + b"\n\n"], None))
    with pytest.raises(FarmError) as caught:
        revisions(farm)
    assert caught.value.code == "not_a_farm"
