"""Download images as one zip, piece by piece."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from core.errors import InvalidInput, Unavailable
from imagefarm.errors import unreachable
from imagefarm.transport import Transport

PATH = "/v1/exports"


def download_export(transport: Transport, target: Path, params: Mapping[str, Any]) -> int:
    """Write the zip that the farm streams, and return its bytes; a transfer that breaks off leaves no file.

    Raises InvalidInput `export_failed` when the file cannot be written, Unavailable when the farm breaks off, and what the
    farm answers, such as NotFound `nothing_to_export`.
    """
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    size = 0
    try:
        with transport.stream(PATH, params, {"Accept": "application/zip"}) as response, partial.open("xb") as file:
            for piece in response.iter_raw():
                size += file.write(piece)
        partial.replace(target)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise unreachable(transport.url, error) from error
    except httpx.TransportError as error:
        raise Unavailable(f"The farm broke off the export ({error}). Try again.", code="export_interrupted") from error
    except OSError as error:
        raise InvalidInput(f"Could not write '{target}': {error.strerror or error}.", code="export_failed") from error
    finally:
        partial.unlink(missing_ok=True)
    return size
