"""Webhooks by the Standard Webhooks specification: secrets, signatures, retries, and which addresses may be called."""

from __future__ import annotations

import base64
import binascii
import secrets
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from core.errors import InvalidInput

SECRET_PREFIX = "whsec_"  # noqa: S105 -- a prefix, not a secret
RETRY_SECONDS = (5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0, 18_000.0, 36_000.0)
"""Seconds to wait after the first, second, ... failed try; after the last wait and try the message has failed."""
_MAX_URL = 2000
_MAPPED, _NAT64 = IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96")
_UNICAST_V4 = (IPv4Address("1.0.0.0"), IPv4Address("223.255.255.255"))
_UNICAST_V6 = IPv6Network("2000::/3")
_SPECIAL_V4 = tuple(
    IPv4Network(block)
    for block in (
        *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24"),
        *("192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24"),
    )
)
"""Blocks inside unicast IPv4 that IANA's registry of special-purpose addresses lists."""
_SPECIAL_V6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4 reaches any IPv4 address
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


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
        host = parts.hostname if parts.port != 0 else None
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
    address = _literal_address(host)
    if address is None:
        return
    if not allow_private and not is_public(address):
        raise InvalidInput(
            f"Webhooks do not go to {host}: it is a private address. "
            "The operator can allow it with IMAGEFARM_WEBHOOK_ALLOW_PRIVATE=true.",
            field=field,
            code="private_webhook_target",
        )


def _literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is written as, in any form that a resolver takes; None for a name."""
    name = host.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return ip_address(name)
    except ValueError:
        pass
    try:
        # Reads what C libraries read: one number, octal or hexadecimal parts, fewer than four parts.
        return IPv4Address(socket.inet_aton(name))
    except OSError:
        return None


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether messages may go to an address: only to unicast addresses of the public internet.

    What is not known to be public is refused. An IPv4 address inside IPv6 (mapped, or translated by NAT64) counts as itself;
    other IPv6 addresses are allowed inside 2000::/3 only.
    """
    if isinstance(address, IPv6Address):
        if address in _MAPPED or address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        return address in _UNICAST_V6 and not any(address in block for block in _SPECIAL_V6)
    first, last = _UNICAST_V4
    return first <= address <= last and not any(address in block for block in _SPECIAL_V4)
