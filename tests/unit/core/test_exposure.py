"""The API and Flower refuse to listen off loopback without keys or a password."""

from __future__ import annotations

import pytest

from core.errors import InvalidInput
from core.exposure import check_api_exposure, check_flower_exposure, is_loopback
from core.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])
def test_loopback_addresses_need_no_protection(host: str) -> None:
    assert is_loopback(host)
    check_api_exposure(Settings(host=host), has_keys=False)
    check_flower_exposure(Settings(flower_host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "farm.example", "localhost.example"])
def test_public_addresses_need_protection(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(InvalidInput, match="imagefarm keys create"):
        check_api_exposure(Settings(host=host), has_keys=False)
    with pytest.raises(InvalidInput, match="IMAGEFARM_FLOWER_BASIC_AUTH"):
        check_flower_exposure(Settings(flower_host=host))


def test_public_addresses_are_allowed_with_keys_a_password_or_open_access() -> None:
    check_api_exposure(Settings(host="0.0.0.0"), has_keys=True)
    check_api_exposure(Settings(host="0.0.0.0", open_access=True), has_keys=False)
    check_flower_exposure(Settings(flower_host="0.0.0.0", flower_basic_auth="user:password"))
