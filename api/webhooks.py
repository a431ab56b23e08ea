"""Webhooks: collect messages of settled jobs, sign them and deliver them to checked addresses only."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx
from standardwebhooks import Webhook

from api.encryption import SecretCipher, is_encrypted
from api.threads import QuickCalls, in_thread
from api.views.jobs import job_view
from core.errors import FarmError, Gone, NotFound
from core.schemas.jobs import WebhookMessage
from core.settings import Settings
from core.webhooks import check_url, is_public, secret_bytes
from db.database import Database
from db.jobs.read import Snapshot, read_snapshot
from db.tables import WebhookDelivery
from db.webhook_collector import Collector, Target
from db.webhook_deliveries import Sending, any_pending, claim_due, mark_delivered, mark_failed, stored_secret
from db.webhooks import FARM, encrypt_plain_secrets

TIMEOUT_SECONDS = 10.0
"""Deadline of a whole delivery: name resolution, connection, request and the head of the response together."""
MAX_CONCURRENT, PER_LANE, PER_HOST = 48, 4, 8
"""Messages that one process sends at a time: in all, for one owner, and to one host. Receivers that never answer use up
their owner's share only."""
_RESOLVER_THREADS = 3 * MAX_CONCURRENT
"""A resolver that never answers keeps its thread for up to three times as long as a delivery may take."""


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


def _new_client() -> httpx.AsyncClient:
    # httpx limits single reads and writes; a receiver that sends a byte now and then would never reach such a limit.
    return httpx.AsyncClient(
        timeout=None,  # noqa: S113 -- `send` sets the deadline
        follow_redirects=False,
        trust_env=False,
        limits=httpx.Limits(max_connections=MAX_CONCURRENT),
    )


class WebhookSender:
    """Sends messages to the very address that was checked, so that a name cannot resolve to another one in between."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._client: httpx.AsyncClient | None = None
        """Made for the first message: the trusted certificates take 30 ms of processor time to read."""
        self._opening = asyncio.Lock()
        # Not the API's own threads: names that do not resolve would keep them from its requests.
        self._resolvers = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="resolver")

    async def close(self) -> None:
        """Close the connections."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
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
        client = await self._open_client()
        request = client.build_request("POST", target, content=body, headers=headers, extensions={"sni_hostname": host})
        response = await client.send(request, stream=True)
        await response.aclose()  # the body is not needed, and may be endless
        return response.status_code

    async def _open_client(self) -> httpx.AsyncClient:
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.get_running_loop().run_in_executor(self._resolvers, _new_client)
            return self._client

    async def _address(self, host: str, port: int) -> str:
        resolve = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._resolvers, resolve)
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        if not addresses:
            raise DeliveryRefused(f"{host} has no address.")
        if not self._allow_private and not all(is_public(ip_address(address)) for address in addresses):
            raise DeliveryRefused(f"{host} resolves to a private address; messages are not sent there.")
        return addresses[0]


logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""Between two looks for messages to send again."""
IDLE_SECONDS = 6.0
"""Between two looks while no message waits, for jobs whose end Redis did not report."""
PAUSE_SECONDS, QUIET_PAUSE_SECONDS = 0.2, 1.0
"""Between two looks at jobs that settle; the longer one while no receiver is registered and no job has one of its own."""


class WebhookDispatcher:
    """Delivers due messages; one per API process, and several processes share the work through the database.

    One task writes the messages of jobs that have settled. Another starts deliveries as places become free, one of each
    owner in turn; a delivery waits for no other.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        cipher: SecretCipher,
        quick_reads: QuickCalls,
    ) -> None:
        self._database = database
        self._quick_reads = quick_reads
        self._cipher = cipher
        self._settled = asyncio.Event()
        """Set when a job settles about which a message may have to be written."""
        self._standard = settings.webhook_body == "standard"
        self._default_secret = settings.webhook_secret.get_secret_value()
        self._collector = Collector(database, _farm_target(settings))
        self._sender = WebhookSender(allow_private=settings.webhook_allow_private)
        self._sending = Sending(MAX_CONCURRENT, PER_LANE, PER_HOST)
        self._due = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._deliveries: set[asyncio.Task[None]] = set()
        self._logged_errors = _LoggedErrors()

    def start(self) -> None:
        """Start the background tasks; call on the event loop."""
        self._tasks = [asyncio.create_task(self._collect()), asyncio.create_task(self._send())]

    def job_settled(self, may_have_webhook: bool) -> None:
        """Write its messages soon. Without receivers, a job that names no webhook of its own causes no query."""
        if may_have_webhook or self._collector.has_targets:
            self._settled.set()

    def wake(self) -> None:
        """Look for messages now."""
        self._settled.set()

    async def stop(self) -> None:
        """Stop the tasks; deliveries in progress are retried after the next start."""
        tasks = [*self._tasks, *self._deliveries]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sender.close()

    async def _collect(self) -> None:
        encrypted, logged_errors = False, _LoggedErrors()
        while True:
            self._settled.clear()
            waiting, pause = True, PAUSE_SECONDS
            with logged_errors():
                if not encrypted:
                    await in_thread(encrypt_plain_secrets, self._database, self._encrypted)
                    encrypted = True
                written, waiting = 0, not await self._quick_reads.run(self._collector.is_idle)
                if waiting:
                    written = await in_thread(self._collector.collect)
                    waiting = await in_thread(any_pending, self._database)
                if not (written or waiting or self._collector.has_targets):
                    pause = QUIET_PAUSE_SECONDS
            if waiting:
                self._due.set()
            await asyncio.sleep(pause)  # one query serves all jobs that settle meanwhile
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS if waiting else IDLE_SECONDS):
                    await self._settled.wait()

    async def _send(self) -> None:
        logged_errors = _LoggedErrors()
        while True:
            await self._due.wait()
            self._due.clear()
            with logged_errors():
                for delivery in await in_thread(claim_due, self._database, self._sending.copy()):
                    self._sending.add(delivery)
                    task = asyncio.create_task(self._deliver(delivery))
                    self._deliveries.add(task)
                    task.add_done_callback(self._deliveries.discard)

    async def _deliver(self, delivery: WebhookDelivery) -> None:
        try:
            with self._logged_errors():
                await self._deliver_once(delivery)
        finally:
            self._sending.remove(delivery)
            self._due.set()

    async def _deliver_once(self, delivery: WebhookDelivery) -> None:
        try:
            snapshot = await in_thread(read_snapshot, self._database, delivery.job_id)
        except (NotFound, Gone):
            return  # deleted a moment ago, together with its messages
        try:
            secret = await in_thread(self._secret, delivery, snapshot.job.requested)
        except FarmError as error:
            final = isinstance(error, NotFound)
            await in_thread(mark_failed, self._database, delivery, error.message, None, 0.0, final=final)
            return
        body = message_body(delivery, snapshot, standard=self._standard).encode()
        result = await self._sender.send(delivery.url, secret, delivery.id, body)
        if result.error is None and result.http_status is not None:
            await in_thread(mark_delivered, self._database, delivery.id, result.http_status, result.seconds)
            return
        logger.info(
            "webhook %s for job %s: %s", delivery.id, delivery.job_id, result.error, extra={"job_id": delivery.job_id}
        )
        await in_thread(mark_failed, self._database, delivery, result.error or "", result.http_status, result.seconds)

    def _secret(self, delivery: WebhookDelivery, requested: dict[str, object]) -> str:
        stored = stored_secret(self._database, delivery, requested)
        return self._default_secret if stored is None else self._cipher.decrypt(stored)

    def _encrypted(self, stored: str) -> str:
        return stored if is_encrypted(stored) else self._cipher.encrypt(stored)


def message_body(delivery: WebhookDelivery, snapshot: Snapshot, *, standard: bool) -> str:
    """Return the JSON of a message: `{type, timestamp, data}`, or the job alone."""
    job = job_view(snapshot)
    if not standard:
        return job.model_dump_json()
    at = datetime.fromtimestamp(delivery.created_at, UTC)
    return WebhookMessage.model_construct(type=delivery.event, timestamp=at, data=job).model_dump_json()


class _LoggedErrors:
    """Logs any error: no fault of one message or of the database may end the deliveries. One that lasts is logged once."""

    def __init__(self) -> None:
        self._last: str | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        try:
            yield
            self._last = None
        except FarmError as error:
            if error.message != self._last:
                logger.warning("cannot deliver webhooks, until it can again: %s", error.message)
            self._last = error.message
        except Exception:
            logger.exception("delivering webhooks failed")


def _farm_target(settings: Settings) -> Target | None:
    """Return the target that the settings name, if any; raises InvalidInput when its URL or secret is malformed."""
    if not settings.webhook_url:
        return None
    secret_bytes(settings.webhook_secret.get_secret_value())
    return Target(FARM, check_url(settings.webhook_url, field="webhook_url"))
