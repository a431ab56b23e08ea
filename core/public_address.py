"""Parse the farm's public address and the list of trusted proxies, and say what a proxy may tell about an address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(:[0-9]{1,5})?", re.IGNORECASE)
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_OWN_PATHS = frozenset({"v1", "sdapi", "internal"})


@dataclass(frozen=True)
class PublicAddress:
    """Where clients see the farm: `origin` such as `https://host`, empty for the request's own; `prefix` such as `/farm`."""

    origin: str = ""
    prefix: str = ""

    @property
    def url(self) -> str:
        """Origin and prefix."""
        return self.origin + self.prefix

    @property
    def netloc(self) -> str:
        """Host and port, in lower case."""
        return self.origin.partition("//")[2].lower()


def parse_public_url(url: str) -> PublicAddress:
    """Return the address in `https://host[:port][/path]`; raise ValueError with what to write instead."""
    parts = urlsplit(url.strip())
    prefix = parse_prefix(parts.path.rstrip("/"))
    sound = parts.scheme in ("http", "https") and _HOST.fullmatch(parts.netloc) and not parts.query and not parts.fragment
    if not sound or prefix is None:
        raise ValueError("write it as https://host or https://host/path, without user, query or fragment")
    return PublicAddress(f"{parts.scheme}://{parts.netloc}", prefix)


def parse_prefix(path: str) -> str | None:
    """Return the path prefix when it is one that the farm can be served under; None for any other text."""
    segments = path.split("/")
    if _PREFIX.fullmatch(path) is None or {".", ".."} & set(segments) or (len(segments) > 1 and segments[1] in _OWN_PATHS):
        return None
    return path


def parse_networks(text: str) -> list[IPv4Network | IPv6Network]:
    """Return the networks in a comma-separated list of addresses and networks; raise ValueError for anything else."""
    return [ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()]


def is_in(address: str, networks: list[IPv4Network | IPv6Network]) -> bool:
    """Return whether an address is in one of the networks; False for what is no address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in networks)


def forwarded(address: PublicAddress, scheme: str, proto: str, host: str, prefix: str) -> PublicAddress:
    """Return the address with what a trusted proxy states; a value that is malformed is ignored.

    `scheme` is that of the request. Of a list the last element counts: the trusted proxy itself has added it.
    """
    proto, host, prefix = (value.rpartition(",")[2].strip() for value in (proto, host, prefix))
    origin = address.origin
    if _HOST.fullmatch(host):
        origin = f"{proto if proto in ('http', 'https') else scheme}://{host}"
    path = parse_prefix(prefix.rstrip("/"))
    return PublicAddress(origin, path if path else address.prefix)
