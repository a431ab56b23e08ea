"""Encryption of secrets, and its key file."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.encryption import SecretCipher, is_encrypted
from cli.exit_codes import ExitCode
from core.errors import InvalidInput, Unavailable
from tests.servers.farm import clean_environment
from tests.servers.forked_parts import run_command


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


def test_a_short_key_ends_the_api_with_one_sentence(tmp_path: Path) -> None:
    environment = clean_environment(
        IMAGEFARM_SECRET_KEY="short", IMAGEFARM_REDIS_URL="redis://127.0.0.1:9/0", IMAGEFARM_DATA_DIR=str(tmp_path)
    )
    done = run_command("api", "--port", "0", environment=environment, cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "IMAGEFARM_SECRET_KEY is too short" in done.stderr and "Traceback" not in done.stderr
