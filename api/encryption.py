"""Encryption of secrets that the farm has to send or sign with later: the secrets of webhooks.

The key is IMAGEFARM_SECRET_KEY, or random and in a file of the data directory that only its owner can read.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import threading
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from core.errors import InvalidInput, Unavailable
from core.settings import Settings
from core.storage.local import describe_os_error

KEY_NAME = "secret.key"
PREFIX = "enc:1:"
"""Marks an encrypted text; any other text was stored plain by an earlier version."""
_MIN_CHARACTERS = 32


class SecretCipher:
    """Encrypts and decrypts texts. The key is read at the first use; with `key_file`, it is created then."""

    def __init__(self, key: str, key_file: Path) -> None:
        """Take the text of IMAGEFARM_SECRET_KEY, or an empty one for `key_file`. Raises InvalidInput for a short text."""
        if key and len(key) < _MIN_CHARACTERS:
            raise InvalidInput(
                f"IMAGEFARM_SECRET_KEY is too short: set at least {_MIN_CHARACTERS} random characters, such as the output "
                "of `openssl rand -base64 32`.",
                field="secret_key",
            )
        self._key, self._key_file = key, key_file
        self._lock = threading.Lock()
        self._fernet: Fernet | None = None

    @classmethod
    def of(cls, settings: Settings) -> SecretCipher:
        """Return the cipher that the settings describe."""
        return cls(settings.secret_key.get_secret_value(), settings.data_dir / KEY_NAME)

    def encrypt(self, text: str) -> str:
        """Return the text encrypted. Raises Unavailable `storage_unavailable` when the key file cannot be used."""
        return PREFIX + self._cipher().encrypt(text.encode()).decode()

    def decrypt(self, stored: str) -> str:
        """Return the text of what `encrypt` returned, or of a plain text. Raises InvalidInput when it has another key."""
        if not is_encrypted(stored):
            return stored
        try:
            return self._cipher().decrypt(stored.removeprefix(PREFIX).encode()).decode()
        except InvalidToken:
            raise InvalidInput(
                "The secret was encrypted with another key. Give every `imagefarm api` of the farm the same "
                f"IMAGEFARM_SECRET_KEY, or restore {KEY_NAME} in the data directory, or register the webhook again.",
                code="secret_key_changed",
            ) from None

    def _cipher(self) -> Fernet:
        with self._lock:
            if self._fernet is None:
                text = self._key or _key_in(self._key_file)
                digest = hashlib.sha256(b"imagefarm secrets:" + text.encode()).digest()
                self._fernet = Fernet(base64.urlsafe_b64encode(digest))
            return self._fernet


def is_encrypted(stored: str) -> bool:
    """Return whether a stored text is encrypted."""
    return stored.startswith(PREFIX)


def _key_in(file: Path) -> str:
    """Return the content of the key file, which is created when it does not exist."""
    try:
        if not file.exists():
            _create(file)
        key = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = describe_os_error(error) if isinstance(error, OSError) else "it is not text"
        raise Unavailable(
            f"The key of secrets, {file.name} in the data directory, cannot be used: {reason}. Mend that, or set "
            "IMAGEFARM_SECRET_KEY.",
            code="storage_unavailable",
        ) from error
    if len(key) < _MIN_CHARACTERS:
        raise Unavailable(
            f"The key of secrets, {file.name} in the data directory, is damaged. Restore it from a backup, or delete it and "
            "register the webhooks again.",
            code="storage_unavailable",
        )
    return key


def _create(file: Path) -> None:
    """Create the file with a random key under its name at once, so that processes that start together share one key."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = file.with_name(f".partial-{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_urlsafe(48) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        _take_name(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def _take_name(partial: Path, file: Path) -> None:
    """Give the file its name unless another process was first."""
    try:
        os.link(partial, file)
    except FileExistsError:
        pass
    except OSError:  # the file system has no hard links
        if not file.exists():
            partial.rename(file)
