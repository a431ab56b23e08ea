"""Faults of the broker: messages that are no hints, and what a server does to its clients."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Iterator
from typing import Any

from core.queue import RENDER_TASK


def junk_messages(job_id: str) -> Iterator[bytes]:
    """Yield messages for a hint queue, each wrong in one way; `job_id` is of a job that does not exist."""
    yield from (b"", b"{", b"null", b"[]", b"3", b'"text"', b"\xff\xfe\x00", b"[" * 100_000, b"x" * 3_000_000)
    yield pickle.dumps({"task": RENDER_TASK})
    yield json.dumps({"__type__": "decimal", "__value__": "no number"}).encode()
    good = envelope(job_id)
    wrong_values: list[object] = [None, 3, [], "text", {"a": [1]}, "text \x00 \ud800", "x" * 10_000]
    yield from (_encode({name: value for name, value in good.items() if name != left_out}) for left_out in good)
    for name in good:
        yield from (_encode(good | {name: wrong}) for wrong in wrong_values)
    headers = good["headers"]
    for name in headers:
        yield _encode(good | {"headers": {each: value for each, value in headers.items() if each != name}})
        yield from (_encode(good | {"headers": headers | {name: wrong}}) for wrong in wrong_values)
    for extra in ("eta", "expires", "timelimit", "stamps", "stamped_headers", "compression", "x-death", "meth", "chord"):
        yield from (_encode(good | {"headers": headers | {extra: wrong}}) for wrong in wrong_values)
    properties = good["properties"]
    for name in properties:
        yield _encode(good | {"properties": {each: value for each, value in properties.items() if each != name}})
        yield from (_encode(good | {"properties": properties | {name: wrong}}) for wrong in wrong_values)
    for body in (b"", b"{", b"[[], {}, {}]", b'[["a", "b"], {"job_id": 1}, {}]', b"3", pickle.dumps([1]), b"x" * 1_000_000):
        yield _encode(good | {"body": base64.b64encode(body).decode()})
    yield _encode(good | {"content-type": "application/x-python-serialize"})
    yield _encode(good | {"content-encoding": "no-such-encoding"})


def envelope(job_id: str) -> dict[str, Any]:
    """Return a hint as kombu puts it into its list, with unusual but valid values."""
    body = json.dumps([[job_id], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": RENDER_TASK, "id": job_id, "retries": 0, "deferrals": 0, "argsrepr": "()"},
        "properties": {
            "correlation_id": job_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "render.demo"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": f"tag-{job_id}",
        },
    }


def _encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()
