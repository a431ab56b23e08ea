"""Find the farm's URL and API key: as given, else from the settings."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.errors import InvalidInput
from core.settings import Settings

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 -- compared, not bound


@dataclass(frozen=True)
class Address:
    """Where a farm is. `url` has no trailing slash; `api_key` is empty when the farm needs none."""

    url: str
    api_key: str = ""

    @property
    def is_loopback(self) -> bool:
        """Return whether the farm is on this machine; requests to it must bypass proxies."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def host(self) -> str:
        """Return the host name or address in the URL."""
        return urlsplit(self.url).hostname or ""


def find_address(url: str | None = None, api_key: str | None = None, settings: Settings | None = None) -> Address:
    """Return the given values, else those of IMAGEFARM_URL and IMAGEFARM_API_KEY. Raises InvalidInput for an invalid URL."""
    if settings is None and (url is None or api_key is None):
        settings = Settings()
    found = url if url is not None else farm_url(settings or Settings())
    key = api_key if api_key is not None else (settings or Settings()).api_key.get_secret_value()
    return Address(_checked(found), key)


def farm_url(settings: Settings) -> str:
    """Return the setting `url`, else the address of a farm on this machine with the settings `host` and `port`."""
    if settings.url:
        return settings.url
    host = _ANY.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(
            f"'{url}' is not the address of a farm: give one such as http://127.0.0.1:7860, "
            "with --url, IMAGEFARM_URL or as an argument.",
            field="url",
        )
    return url.rstrip("/")
