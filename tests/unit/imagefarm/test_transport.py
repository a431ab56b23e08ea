"""Clients of a farm on this machine share the trusted certificates."""

from __future__ import annotations

import ssl

import pytest

from imagefarm import ImageFarm
from imagefarm.transport import certificates


def test_clients_of_this_machine_read_the_certificates_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known = certificates()
    assert known.verify_mode is ssl.CERT_REQUIRED
    assert known.check_hostname
    assert len(known.get_ca_certs()) > 20, "all trusted authorities, whatever the environment names"
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: pytest.fail("read again"))
    for url in ("http://127.0.0.1:7860", "http://localhost:7860"):
        ImageFarm(url, "").close()
