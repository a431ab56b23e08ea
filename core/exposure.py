"""Decide who may reach the farm: addresses that need keys or a password, and host names that the API answers to."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from core.errors import InvalidInput
from core.settings import Settings

EVERY_HOST = "*"
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 -- compared, not bound


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address; names other than `localhost` count as public."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_api_exposure(settings: Settings, *, has_keys: bool) -> None:
    """Raise InvalidInput when the API would listen off loopback while no API key was ever created."""
    if is_loopback(settings.host) or has_keys or settings.open_access:
        return
    raise InvalidInput(
        f"The API would listen on {settings.host}, where others can reach it, but no API key exists. Create one first "
        "(`imagefarm keys create`), or listen on 127.0.0.1, or, behind a proxy that authenticates callers, set "
        "IMAGEFARM_OPEN_ACCESS=true.",
        field="host",
        code="exposed_without_keys",
    )


def check_flower_exposure(settings: Settings) -> None:
    """Raise InvalidInput when Flower would listen off loopback without a password."""
    if is_loopback(settings.flower_host) or settings.flower_basic_auth.get_secret_value():
        return
    raise InvalidInput(
        f"Flower would listen on {settings.flower_host} without a password. "
        "Set IMAGEFARM_FLOWER_BASIC_AUTH=user:password, or let it listen on 127.0.0.1.",
        field="flower_host",
        code="exposed_without_keys",
    )


@lru_cache(maxsize=64)
def canonical_host(name: str) -> str:
    """Return a host name or address in the form in which equal ones compare equal."""
    plain = name.strip("[]").rstrip(".").lower()
    try:
        address = ip_address(plain)
    except ValueError:
        return plain
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


@dataclass(frozen=True)
class AllowedHosts:
    """The host names that the API answers to.

    A web site can let its own name resolve to the farm's address (DNS rebinding); its page then has the farm's origin,
    and the browser lets it read and send everything. Such a request carries the site's name, which is not in here.
    """

    names: frozenset[str]
    every_host: bool
    any_own_address: bool
    """Whether the address that a connection was made to is allowed: a farm on all addresses cannot list them."""

    @classmethod
    def of(cls, settings: Settings) -> AllowedHosts:
        """Return the hosts of the setting `allowed_hosts`, loopback names, the address to listen on and those of URLs."""
        listens_everywhere = settings.host in _EVERY_ADDRESS
        urls = {urlsplit(url).hostname or "" for url in (settings.public_url, settings.join_url)}
        names = {*settings.allowed_hosts, settings.host, *urls}
        if listens_everywhere and not settings.allowed_hosts:
            machine = socket.gethostname()
            names |= {machine, machine.partition(".")[0]}
        return cls(
            names=frozenset(canonical_host(name) for name in names if name),
            every_host=EVERY_HOST in settings.allowed_hosts,
            any_own_address=listens_everywhere and not settings.allowed_hosts,
        )

    def allow(self, host: str, reached_at: str) -> bool:
        """Return whether a request for `host` may be answered; `reached_at` is the local address of its connection."""
        name = canonical_host(host)
        if self.every_host or is_loopback(name) or name in self.names:
            return True
        return self.any_own_address and name == canonical_host(reached_at)
