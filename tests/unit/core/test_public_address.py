"""Public URL, trusted proxies, and what they may say."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from core.public_address import PublicAddress, forwarded, is_in, parse_networks, parse_public_url
from core.settings import Settings


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("https://example.com", "https://example.com", ""),
        ("https://example.com/", "https://example.com", ""),
        ("http://example.com:8080/farm/", "http://example.com:8080", "/farm"),
        ("https://[::1]:7860/a/b", "https://[::1]:7860", "/a/b"),
    ],
)
def test_public_url_is_read(url: str, origin: str, prefix: str) -> None:
    assert parse_public_url(url) == PublicAddress(origin, prefix)


@pytest.mark.parametrize(
    "url",
    [
        "example.com/farm",
        "ftp://example.com",
        "https://",
        "https://user:secret@example.com",
        "https://example.com/farm?x=1",
        "https://example.com/a b",
        "https://example.com/../farm",
        "https://example.com//farm",
        "https://example.com/v1",
    ],
)
def test_other_public_urls_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="public_url"):
        Settings(_env_file=None, data_dir=tmp_path, public_url=url)


def test_wrong_proxies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        Settings(_env_file=None, data_dir=tmp_path, trusted_proxies="nginx")


def test_networks_hold_addresses() -> None:
    networks = parse_networks("127.0.0.1, 10.0.0.0/8,fd00::/8")
    assert is_in("10.1.2.3", networks)
    assert is_in("::ffff:10.1.2.3", networks)
    assert is_in("fd00::1", networks)
    assert not is_in("127.0.0.2", networks)
    assert not is_in("testclient", networks)
    assert not is_in("10.1.2.3", parse_networks(""))


def test_proxy_states_the_address() -> None:
    assert forwarded(PublicAddress(), "http", "https", "example.com", "/farm/") == PublicAddress(
        "https://example.com", "/farm"
    )
    # Clients may have sent a value of their own: the proxy added the last one.
    assert forwarded(PublicAddress(), "http", "", "evil.test, example.com", "").origin == "http://example.com"


@pytest.mark.parametrize("prefix", ["//evil.test", "/a/../b", "javascript:x", "/a b", "/v1"])
def test_malformed_statements_are_ignored(prefix: str) -> None:
    known = PublicAddress("https://example.com", "/farm")
    assert forwarded(known, "http", "gopher", "ev il", prefix) == known
