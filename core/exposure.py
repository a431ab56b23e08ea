"""Decide which addresses need keys or a password."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address

from core.errors import InvalidInput
from core.settings import Settings


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
