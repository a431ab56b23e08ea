"""Which addresses webhooks may be sent to, in every form that they are written in."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from core.errors import InvalidInput
from core.webhooks import check_literal_address, check_url, is_public

PUBLIC = (
    *("1.1.1.1", "8.8.8.8", "93.184.216.34", "192.0.1.1", "223.255.255.1", "172.32.0.1", "100.128.0.1"),
    *("2606:4700::1", "2a00:1450:4001::1", "2001:4860:4860::8888", "2400:cb00::1"),
    *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
)
REFUSED = (
    *("0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.0.1", "169.254.169.254", "172.31.0.1"),
    *("192.0.0.1", "192.0.0.9", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"),
    *("::ffff:127.0.0.1", "::ffff:192.168.0.1", "::ffff:192.0.0.9", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1"),
    *("64:ff9b::169.254.169.254", "64:ff9b:1::1", "64:ff9b:1:ffff::8.8.8.8", "100::1", "100:0:0:1::1"),
    *("2001::1", "2001:0:7f00:1::", "2001:0:808:808:0:ffff:f5ff:fffe", "2001:2::1", "2001:10::1", "2001:20::1"),
    *("2001:db8::1", "2002:7f00:1::", "2002:a00:1::", "2002:808:808::", "3fff::1", "4000::1", "5f00::1"),
    *("fc00::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "feff::1", "ff02::1", "ff0e::1"),
)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", REFUSED)
def test_all_other_addresses_are_refused(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0"),
        *("10.0.0.1", "012.0.0.1", "0xa.0.0.1", "167772161", "0xA9FEA9FE", "169.254.43518", "192.0.0.8"),
        *("127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "api.localhost", "api.localhost."),
        *("[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:0:127.0.0.1]", "[fec0::1]", "[64:ff9b:1::1]"),
        *("[64:ff9b::10.0.0.1]", "[5f00::1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[fe80::1%25eth0]"),
    ],
)
def test_a_literal_private_address_is_refused_in_any_form(host: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_literal_address(f"http://{host}:8080/hook", allow_private=False)
    assert caught.value.code == "private_webhook_target"
    check_literal_address(f"http://{host}:8080/hook", allow_private=True)


@pytest.mark.parametrize(
    "host", ["example.com", "134744072", "0x08080808", "8.8.8.8", "[2606:4700::1]", "localhost.example"]
)
def test_names_and_public_addresses_are_taken(host: str) -> None:
    check_literal_address(f"http://{host}/", allow_private=False)


@pytest.mark.parametrize("url", ["http://example.com:0/", "http://example.com:99999/", "http://example.com:x/"])
def test_a_port_that_does_not_exist_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_url(url)
    assert caught.value.code == "invalid_webhook_url"
