"""Signatures and the deadline of webhook deliveries."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook

from api import webhooks
from api.webhooks import WebhookSender, signature
from core.errors import InvalidInput
from core.webhooks import generate_secret


@pytest.mark.parametrize("body", [b"{}", '{"prompt": "一只猫 🐈"}'.encode(), b'{"a": "' + b"x" * 100_000 + b'"}'])
def test_signatures_follow_the_specification(body: bytes) -> None:
    secret, timestamp = generate_secret(), int(time.time())
    signed = signature(secret, "msg-1", timestamp, body)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"msg-1.{timestamp}.".encode() + body, hashlib.sha256).digest()
    assert signed == "v1," + base64.b64encode(digest).decode()
    headers = {"webhook-id": "msg-1", "webhook-timestamp": str(timestamp), "webhook-signature": signed}
    Webhook(secret).verify(body, headers)


def test_the_signed_time_does_not_depend_on_the_time_zone() -> None:
    secret = generate_secret()
    expected = Webhook(secret).sign("msg-1", datetime(2026, 11, 28, 19, 0, 0, tzinfo=UTC), "{}")
    assert signature(secret, "msg-1", 1_795_892_400, b"{}") == expected


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_MTIz", "no-prefix", "whsec_%%%"])
def test_a_malformed_secret_is_refused(secret: str) -> None:
    with pytest.raises(InvalidInput):
        signature(secret, "msg-1", 1, b"{}")


def test_a_delivery_has_a_deadline_even_when_the_receiver_keeps_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver sends a byte of its response's head every 20 ms, so that no single read takes long."""
    monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 0.5)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        try:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def deliver() -> webhooks.DeliveryResult:
        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sender = WebhookSender(allow_private=True)
        try:
            async with asyncio.timeout(120):
                return await sender.send(f"http://127.0.0.1:{port}/", generate_secret(), "msg-1", b"{}")
        finally:
            await sender.close()
            server.close()

    result = asyncio.run(deliver())
    assert (result.http_status, result.error) == (None, "No answer within 0.5 s.")
    assert 0.5 <= result.seconds < 100


def test_trusted_certificates_are_read_once_and_not_before_the_first_message(monkeypatch: pytest.MonkeyPatch) -> None:
    read = CallCount(webhooks._new_client)
    monkeypatch.setattr(webhooks, "_new_client", read)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    async def deliver() -> list[int | None]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        sender = WebhookSender(allow_private=True)
        assert read.calls == 0
        try:
            sent = [sender.send(url, generate_secret(), f"msg-{number}", b"{}") for number in range(3)]
            return [result.http_status for result in await asyncio.gather(*sent)]
        finally:
            await sender.close()
            server.close()

    assert asyncio.run(deliver()) == [204, 204, 204]
    assert read.calls == 1


class CallCount:
    """Calls a function and counts that."""

    def __init__(self, call: Callable[[], httpx.AsyncClient]) -> None:
        self._call = call
        self.calls = 0

    def __call__(self) -> httpx.AsyncClient:
        self.calls += 1
        return self._call()
