"""Encryption of secrets, and its key file."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.encryption import SecretCipher, is_encrypted
from core.errors import InvalidInput, Unavailable


def test_what_is_encrypted_can_be_decrypted_with_the_same_key_only(tmp_path: Path) -> None:
    cipher = SecretCipher("", tmp_path / "data" / "secret.key")
    stored = cipher.encrypt("whsec_x")
    assert is_encrypted(stored)
    assert "whsec_x" not in stored
    assert SecretCipher("", tmp_path / "data" / "secret.key").decrypt(stored) == "whsec_x"
    with pytest.raises(InvalidInput, match="another key"):
        SecretCipher("k" * 32, tmp_path / "data" / "secret.key").decrypt(stored)


def test_a_plain_text_of_an_earlier_version_is_read_as_it_is(tmp_path: Path) -> None:
    assert SecretCipher("", tmp_path / "secret.key").decrypt("whsec_x") == "whsec_x"
    assert not (tmp_path / "secret.key").exists()


def test_processes_that_start_together_share_one_private_key(tmp_path: Path) -> None:
    ciphers = [SecretCipher("", tmp_path / "secret.key") for _ in range(16)]
    with ThreadPoolExecutor(16) as threads:
        stored = list(threads.map(lambda cipher: cipher.encrypt("x"), ciphers))
    assert {ciphers[0].decrypt(each) for each in stored} == {"x"}
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_a_key_that_cannot_be_used_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="at least 32"):
        SecretCipher("short", tmp_path / "secret.key")
    (tmp_path / "secret.key").write_text("short")
    with pytest.raises(Unavailable, match="damaged"):
        SecretCipher("", tmp_path / "secret.key").encrypt("x")
    with pytest.raises(Unavailable, match="a file stands where a folder should be"):
        SecretCipher("", tmp_path / "secret.key" / "secret.key").encrypt("x")
