"""Wire format of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.farm import Farm
from api.routes import job_events
from api.routes.job_events import JobStream, event, with_retry
from api.watch import Subscription
from core.lifecycle import JobStatus


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (event("status", {"a": 1}, "7"), b'event: status\ndata: {"a": 1}\nid: 7\n\n'),
        (event("progress", {"a": 1}), b'event: progress\ndata: {"a": 1}\n\n'),
        (event("end", {"prompt": "line\nbreak"}, "9-end"), b'event: end\ndata: {"prompt": "line\\nbreak"}\nid: 9-end\n\n'),
    ],
)
def test_an_event_is_one_block_of_lines(encoded: bytes, expected: bytes) -> None:
    assert encoded == expected


def test_retry_rides_on_the_first_event() -> None:
    """A lone `retry:` block is an empty event to httpx-sse."""

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in (b": keep-alive\n\n", b"", event("status", {"a": 1}, "7"), event("end", {})):
            yield chunk

    async def collected() -> list[bytes]:
        return [chunk async for chunk in with_retry(chunks())]

    found = asyncio.run(collected())
    assert found == [
        b": keep-alive\n\n",
        b"",
        b'retry: 2000\nevent: status\ndata: {"a": 1}\nid: 7\n\n',
        event("end", {}),
    ]


def test_a_stream_sends_keep_alives_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "KEEP_ALIVE_SECONDS", 0.05)
    job = SimpleNamespace(revision=1, status=JobStatus.QUEUED)
    stream = JobStream(cast(Farm, SimpleNamespace(closing=asyncio.Event())), "job", 1, previews=False)

    async def read(at_least: int) -> tuple[Any, list[Any]]:
        return SimpleNamespace(job=job), []

    monkeypatch.setattr(stream, "_read", read)

    async def first_chunks() -> list[bytes]:
        chunks = []
        async with asyncio.timeout(120):
            async for chunk in stream.events(Subscription()):
                chunks.append(chunk)
                if len(chunks) == 2:
                    break
        return chunks

    assert asyncio.run(first_chunks()) == [b": keep-alive\n\n", b": keep-alive\n\n"]
