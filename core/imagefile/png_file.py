"""Insert metadata into a PNG file without decoding it or holding it in memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from core.imagefile import xmp
from core.imagefile.encoding import software
from core.imagefile.exif import PREFIX as EXIF_PREFIX
from core.imagefile.exif import user_comment_block
from core.imagefile.metadata import ImageMetadata
from core.imagefile.parameters_text import format_parameters
from core.imagefile.png_chunks import SIGNATURE

HEADER_BYTES = len(SIGNATURE) + 25
"""The signature and the first chunk, IHDR, after which texts may stand."""
_COPIED_BYTES = 2**20


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a PNG chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_metadata(file: Path, metadata: ImageMetadata, texts: Mapping[str, str] = MappingProxyType({})) -> Iterator[bytes]:
    """Yield the content of a PNG file with the texts that `encode_png` writes before its pixels. Raises OSError."""
    with file.open("rb") as source:
        yield source.read(HEADER_BYTES)
        yield b"".join(_texts(metadata))
        yield b"".join(_text(keyword, text) for keyword, text in texts.items())
        while block := source.read(_COPIED_BYTES):
            yield block


def _texts(metadata: ImageMetadata) -> Iterator[bytes]:
    parameters = format_parameters(metadata)
    if parameters.isascii():
        yield _text("parameters", parameters)
    else:  # As `encode_png` writes them.
        yield _international_text("parameters", parameters)
        yield chunk(b"eXIf", user_comment_block(parameters, software(metadata)).removeprefix(EXIF_PREFIX))
    yield _international_text("imagefarm", metadata.to_json())
    yield _international_text("XML:com.adobe.xmp", xmp.metadata_packet(metadata, with_json=False).decode())
    yield _text("Software", software(metadata))


def _text(name: str, value: str) -> bytes:
    """Return a text in Latin-1 where it can be, as Pillow does; else an international one."""
    try:
        return chunk(b"tEXt", name.encode() + b"\0" + value.encode("latin-1"))
    except UnicodeEncodeError:
        return _international_text(name, value)


def _international_text(name: str, value: str) -> bytes:
    return chunk(b"iTXt", name.encode() + b"\0\0\0\0\0" + value.encode())
