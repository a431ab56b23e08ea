"""The stream that the API writes is read back."""

from __future__ import annotations

from api.routes.job_events import event
from core.schemas.jobs import Progress
from imagefarm.events import Preview, Progressed, event_of, parse_events


def lines(*chunks: bytes) -> list[str]:
    return b"".join(chunks).decode().splitlines()


def test_events_are_read_with_their_ids_and_comments_are_not() -> None:
    progress = Progress(value=0.5, step=4, steps=8)
    stream = lines(
        b"retry: 2000\n\n",
        event("status", {"revision": 2}, "2"),
        b": still here\n\n",
        event("progress", progress),
        event("preview", {"index": 1, "media_type": "image/png", "data": "iVBO"}),
        event("of-a-later-version", {"x": 1}),
    )
    read = list(parse_events(stream))
    assert [(message.name, message.id) for message in read] == [
        ("status", "2"),
        ("progress", "2"),
        ("preview", "2"),
        ("of-a-later-version", "2"),
    ]
    assert event_of(read[1]) == Progressed(progress)
    assert event_of(read[2]) == Preview(1, "image/png", b"\x89PN")
    assert event_of(read[3]) is None


def test_an_event_that_was_cut_off_is_not_told() -> None:
    assert list(parse_events(lines(b'event: end\ndata: {"id": '))) == []
