"""Find settled jobs, write their webhook messages, and send what is due to checked addresses only."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from api.threads import in_thread
from api.views.jobs import job_view
from core.errors import FarmError, Gone, NotFound
from core.settings import Settings
from core.webhooks import check_url, is_public, secret_bytes, signature
from db.database import Database
from db.jobs.read import read_snapshot
from db.tables import WebhookDelivery
from db.webhooks import Collector, Target, claim_due, mark_delivered, mark_failed

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class DeliveryResult:
    """How a try went; `error` is None when the receiver took the message (2xx)."""

    http_status: int | None
    error: str | None
    seconds: float


class DeliveryRefused(Exception):
    """The message may not go there."""


class WebhookSender:
    """Connects to the very address that was checked: a name cannot lead elsewhere between check and call."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False, limits=httpx.Limits(max_connections=20)
        )

    async def close(self) -> None:
        """Closes connections."""
        await self._client.aclose()

    async def send(self, url: str, secret: str, message_id: str, body: bytes) -> DeliveryResult:
        """Never raises: whatever goes wrong is in the result."""
        start = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                http_status = await self._post(url, secret, message_id, body)
        except (DeliveryRefused, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return DeliveryResult(None, str(error) or type(error).__name__, time.monotonic() - start)
        except TimeoutError:
            return DeliveryResult(None, f"No answer within {TIMEOUT_SECONDS:g} s.", time.monotonic() - start)
        taken = 200 <= http_status < 300
        redirect = " Redirects are not followed." if 300 <= http_status < 400 else ""
        error_text = None if taken else f"The receiver answered {http_status}.{redirect}"
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
        await response.aclose()  # the body is of no interest, and may be without end
        return response.status_code

    async def _address(self, host: str, port: int) -> str:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        if not addresses:
            raise DeliveryRefused(f"{host} has no address.")
        if not self._allow_private and not all(is_public(ip_address(address)) for address in addresses):
            raise DeliveryRefused(f"{host} leads to a private address; messages do not go there.")
        return addresses[0]


logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
PAUSE_SECONDS = 0.2
_AT_ONCE = 20


class WebhookDispatcher:
    """One per API process; several share the work through the database."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._collector = Collector(database, _farm_target(settings), settings.webhook_secret.get_secret_value())
        self._sender = WebhookSender(allow_private=settings.webhook_allow_private)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Call on the event loop."""
        self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """A job has settled: look now."""
        self._wake.set()

    async def stop(self) -> None:
        """Messages under way are tried again after the next start."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._sender.close()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                more = await self._look()
            except FarmError as error:
                logger.warning("cannot look after webhooks: %s", error.message)
                more = False
            except Exception:
                logger.exception("looking after webhooks failed")
                more = False
            if not more:
                await asyncio.sleep(PAUSE_SECONDS)  # one look serves all that settled meanwhile
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._wake.wait()

    async def _look(self) -> bool:
        """Whether there may be more to do at once."""
        await in_thread(self._collector.collect)
        due = await in_thread(claim_due, self._database, _AT_ONCE)
        await asyncio.gather(*(self._try(delivery) for delivery in due))
        return len(due) == _AT_ONCE

    async def _try(self, delivery: WebhookDelivery) -> None:
        try:
            snapshot = await in_thread(read_snapshot, self._database, delivery.job_id)
        except (NotFound, Gone):
            return  # deleted a moment ago, and its messages with it
        body = job_view(snapshot).model_dump_json().encode()
        result = await self._sender.send(delivery.url, delivery.secret, delivery.id, body)
        if result.error is None and result.http_status is not None:
            await in_thread(mark_delivered, self._database, delivery.id, result.http_status, result.seconds)
            return
        logger.info("webhook %s for job %s: %s", delivery.id, delivery.job_id, result.error)
        await in_thread(mark_failed, self._database, delivery, result.error or "", result.http_status, result.seconds)


def _farm_target(settings: Settings) -> Target | None:
    """Whom the settings name; InvalidInput when they name nobody that can be called."""
    if not settings.webhook_url:
        return None
    secret = settings.webhook_secret.get_secret_value()
    secret_bytes(secret)
    return Target("settings", check_url(settings.webhook_url, field="webhook_url"), secret)
