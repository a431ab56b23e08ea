"""Webhooks: collect messages of settled jobs, sign them and deliver them to checked addresses only."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx
from standardwebhooks import Webhook

from api.threads import in_thread
from api.views.jobs import job_view
from core.errors import FarmError, Gone, NotFound
from core.settings import Settings
from core.webhooks import check_url, is_public, secret_bytes
from db.database import Database
from db.jobs.read import read_snapshot
from db.tables import WebhookDelivery
from db.webhooks import Collector, Target, claim_due, mark_delivered, mark_failed

TIMEOUT_SECONDS = 10.0
"""Deadline of a whole delivery: name resolution, connection, request and the head of the response together."""


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` header; `body` is UTF-8. Raises InvalidInput for a malformed secret."""
    signer = Webhook(secret_bytes(secret))
    return signer.sign(message_id, datetime.fromtimestamp(timestamp, UTC), body.decode())


@dataclass(frozen=True)
class DeliveryResult:
    """The outcome of one delivery; `error` is None when the receiver answered 2xx."""

    http_status: int | None
    error: str | None
    seconds: float


class DeliveryRefused(Exception):
    """The target's address is not allowed."""


class WebhookSender:
    """Sends messages to the very address that was checked, so that a name cannot resolve to another one in between."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        # httpx limits single reads and writes; a receiver that sends a byte now and then would never reach such a limit.
        self._client = httpx.AsyncClient(
            timeout=None,  # noqa: S113 -- `send` sets the deadline
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=20),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, url: str, secret: str, message_id: str, body: bytes) -> DeliveryResult:
        """Send one message and return the outcome; errors are part of it and are not raised."""
        start = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                http_status = await self._post(url, secret, message_id, body)
        except TimeoutError:  # before OSError, its base class
            return DeliveryResult(None, f"No answer within {TIMEOUT_SECONDS:g} s.", time.monotonic() - start)
        except (DeliveryRefused, FarmError, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return DeliveryResult(None, str(error) or type(error).__name__, time.monotonic() - start)
        accepted = 200 <= http_status < 300
        redirect = " Redirects are not followed." if 300 <= http_status < 400 else ""
        error_text = None if accepted else f"The receiver answered {http_status}.{redirect}"
        return DeliveryResult(http_status, error_text, time.monotonic() - start)

    async def _post(self, url: str, secret: str, message_id: str, body: bytes) -> int:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = await self._address(host, port)
        timestamp = int(time.time())
        headers = {
            "Host": parts.netloc,
            "Content-Type": "application/json",
            "User-Agent": "imagefarm",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secret, message_id, timestamp, body),
        }
        target = httpx.URL(url).copy_with(host=address, port=port)
        request = self._client.build_request(
            "POST", target, content=body, headers=headers, extensions={"sni_hostname": host}
        )
        response = await self._client.send(request, stream=True)
        await response.aclose()  # the body is not needed, and may be endless
        return response.status_code

    async def _address(self, host: str, port: int) -> str:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        if not addresses:
            raise DeliveryRefused(f"{host} has no address.")
        if not self._allow_private and not all(is_public(ip_address(address)) for address in addresses):
            raise DeliveryRefused(f"{host} resolves to a private address; messages are not sent there.")
        return addresses[0]


logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0
PAUSE_SECONDS = 0.2
_MAX_CONCURRENT = 20


class WebhookDispatcher:
    """Delivers due messages; one per API process, and several processes share the work through the database."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._collector = Collector(database, _farm_target(settings), settings.webhook_secret.get_secret_value())
        self._sender = WebhookSender(allow_private=settings.webhook_allow_private)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the background task; call on the event loop."""
        self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Look for messages now, because a job has settled."""
        self._wake.set()

    async def stop(self) -> None:
        """Stop the task; deliveries in progress are retried after the next start."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._sender.close()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                more = await self._deliver_due()
            except FarmError as error:
                logger.warning("cannot deliver webhooks: %s", error.message)
                more = False
            except Exception:
                logger.exception("delivering webhooks failed")
                more = False
            if not more:
                await asyncio.sleep(PAUSE_SECONDS)  # one query serves all jobs that settle meanwhile
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._wake.wait()

    async def _deliver_due(self) -> bool:
        """Deliver a group of due messages; return whether more may be due."""
        await in_thread(self._collector.collect)
        due = await in_thread(claim_due, self._database, _MAX_CONCURRENT)
        await asyncio.gather(*(self._deliver(delivery) for delivery in due))
        return len(due) == _MAX_CONCURRENT

    async def _deliver(self, delivery: WebhookDelivery) -> None:
        try:
            snapshot = await in_thread(read_snapshot, self._database, delivery.job_id)
        except (NotFound, Gone):
            return  # deleted a moment ago, together with its messages
        body = job_view(snapshot).model_dump_json().encode()
        result = await self._sender.send(delivery.url, delivery.secret, delivery.id, body)
        if result.error is None and result.http_status is not None:
            await in_thread(mark_delivered, self._database, delivery.id, result.http_status, result.seconds)
            return
        logger.info("webhook %s for job %s: %s", delivery.id, delivery.job_id, result.error)
        await in_thread(mark_failed, self._database, delivery, result.error or "", result.http_status, result.seconds)


def _farm_target(settings: Settings) -> Target | None:
    """Return the target that the settings name, if any; raises InvalidInput when its URL or secret is malformed."""
    if not settings.webhook_url:
        return None
    secret = settings.webhook_secret.get_secret_value()
    secret_bytes(secret)
    return Target("settings", check_url(settings.webhook_url, field="webhook_url"), secret)
