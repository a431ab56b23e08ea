"""One try at one message: to an address that was checked after its name was resolved, without redirects."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from core.webhooks import is_public, signature

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Result:
    """How a try went; `error` is None when the receiver took the message (2xx)."""

    http_status: int | None
    error: str | None
    seconds: float


class Refused(Exception):
    """The message may not go there."""


class Sender:
    """Connects to the very address that was checked: a name cannot lead elsewhere between check and call."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False, limits=httpx.Limits(max_connections=20)
        )

    async def close(self) -> None:
        """Closes connections."""
        await self._client.aclose()

    async def send(self, url: str, secret: str, message_id: str, body: bytes) -> Result:
        """Never raises: whatever goes wrong is in the result."""
        start = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                http_status = await self._post(url, secret, message_id, body)
        except (Refused, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Result(None, str(error) or type(error).__name__, time.monotonic() - start)
        except TimeoutError:
            return Result(None, f"No answer within {TIMEOUT_SECONDS:g} s.", time.monotonic() - start)
        taken = 200 <= http_status < 300
        redirect = " Redirects are not followed." if 300 <= http_status < 400 else ""
        error_text = None if taken else f"The receiver answered {http_status}.{redirect}"
        return Result(http_status, error_text, time.monotonic() - start)

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
            raise Refused(f"{host} has no address.")
        if not self._allow_private and not all(is_public(ip_address(address)) for address in addresses):
            raise Refused(f"{host} leads to a private address; messages do not go there.")
        return addresses[0]
