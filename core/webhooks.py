"""Webhooks by the Standard Webhooks specification: secrets, signatures, retries, and which addresses may be called."""

from __future__ import annotations

import base64
import binascii
import secrets
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from core.errors import InvalidInput

SECRET_PREFIX = "whsec_"  # noqa: S105 -- a prefix, not a secret
RETRY_SECONDS = (5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0, 18_000.0, 36_000.0)
"""Seconds to wait after the first, second, ... failed try; after the last wait and try the message has failed."""
_NAT64 = IPv6Network("64:ff9b::/96")
_MAX_URL = 2000


def generate_secret() -> str:
    """Return a new secret of 32 random bytes."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secret_bytes(secret: str) -> bytes:
    """Decode a secret to the key bytes. Raises InvalidInput unless it has the form of the specification."""
    try:
        found = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not secret.startswith(SECRET_PREFIX) or not 24 <= len(found) <= 64:
        raise InvalidInput(
            f"A webhook's secret is '{SECRET_PREFIX}' and the base64 of 24 to 64 bytes.", field="webhook.secret"
        )
    return found


def check_url(url: str, *, field: str = "webhook.url") -> str:
    """Return the URL. Raises InvalidInput if it cannot be called; its address is checked again at each delivery."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= _MAX_URL
    if parts.scheme not in ("http", "https") or not host or parts.username is not None or not plain:
        raise InvalidInput(
            "A webhook's address is an http or https URL without user or password, such as https://example.com/hook.",
            field=field,
            code="invalid_webhook_url",
        )
    return url


def check_literal_address(url: str, *, allow_private: bool, field: str = "webhook.url") -> None:
    """Raise InvalidInput for a literal private address, so that it is reported at once and not at the first delivery."""
    host = urlsplit(url).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        if host != "localhost" and not host.endswith(".localhost"):
            return
        address = ip_address("127.0.0.1")
    if not allow_private and not is_public(address):
        raise InvalidInput(
            f"Webhooks do not go to {host}: it is a private address. "
            "The operator can allow it with IMAGEFARM_WEBHOOK_ALLOW_PRIVATE=true.",
            field=field,
            code="private_webhook_target",
        )


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is on the public internet; an IPv4 address embedded in IPv6 is checked itself."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast
