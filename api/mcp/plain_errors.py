"""Say in a sentence what is wrong with a malformed message, where the SDK answers with pydantic's own report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.types import Message, Send

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SENTENCES = {
    "Parse error: ": "The body is not JSON ({cause}): send one JSON-RPC message.",
    "Validation error: ": "The body is no JSON-RPC message: send an object with jsonrpc, which is 2.0, a method, and an id "
    "where an answer is wanted.",
}


def argument_problems(errors: Sequence[ErrorDetails]) -> str:
    """Return one sentence for the arguments of a tool that pydantic refused."""
    found = []
    for error in errors:
        name = ".".join(str(part) for part in error["loc"]) or "arguments"
        found.append(f"{name}: {error['msg'].removeprefix('Value error, ')}")
    return f"Correct these arguments: {'; '.join(found)}."


def with_plain_errors(send: Send) -> Send:
    """Return a `send` that rewrites the text of the SDK's 400; every other response passes as it is."""
    held: list[Message] = []

    async def rewriting(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == HTTPStatus.BAD_REQUEST:
            held.append(message)
            return
        if not held:
            await send(message)
            return
        held.append(message)
        if message.get("more_body"):
            return
        start = held[0]
        body = _rewritten(b"".join(each.get("body", b"") for each in held[1:]))
        headers = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
        await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})
        held.clear()

    return rewriting


def _rewritten(body: bytes) -> bytes:
    try:
        answer: Any = json.loads(body)
        said = str(answer["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body
    for beginning, sentence in _SENTENCES.items():
        if said.startswith(beginning):
            answer["error"]["message"] = sentence.replace("{cause}", said.removeprefix(beginning).partition("\n")[0])
            return json.dumps(answer).encode()
    return body
