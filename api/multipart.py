"""Take the parts out of a form that a browser, curl or a client library sends (RFC 7578)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from core.errors import InvalidInput

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)
_MAX_HEADERS = 8192
MAX_PARTS = 200
"""Of one form: a body has room for a million, which would take seconds of the event loop."""
_NAME = re.compile(
    rb"^content-disposition:[^\r\n]*?;[ \t]*name=(?:\"([^\"\r\n]*)\"|([^\s;]+))", re.IGNORECASE | re.MULTILINE
)
_FILE = re.compile(rb"^content-disposition:[^\r\n]*\bfilename\*?=", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class FormPart:
    """One field of a form. `is_file`: it has a file name."""

    name: str
    is_file: bool
    content: bytes


def form_parts(body: bytes, content_type: str) -> Iterator[FormPart]:
    """Yield the parts of a form; none for a body that is no form. Raises InvalidInput for more than MAX_PARTS."""
    found = _BOUNDARY.search(content_type)
    mark = b"--" + (found[1] or found[2]).encode("latin-1", "replace") if found else b""
    position = body.find(mark) if found else -1
    count = 0
    while position >= 0:
        count += 1
        if count > MAX_PARTS + 1:  # The mark at the end is no part.
            raise InvalidInput(f"The form has more than {MAX_PARTS} parts.", field="body", code="too_many_parts")
        start = position + len(mark)
        headers_end = body.find(b"\r\n\r\n", start, start + _MAX_HEADERS)
        end = body.find(b"\r\n" + mark, start)
        if headers_end < 0 or end < headers_end:
            return
        headers = body[start:headers_end]
        name = _NAME.search(headers)
        text = (name[1] if name[1] is not None else name[2]).decode("utf-8", "replace") if name else ""
        # Without content, the line end before the next mark is the one that ends the headers.
        yield FormPart(text, _FILE.search(headers) is not None, body[headers_end + 4 : end])
        position = end + 2


def first_file(body: bytes, content_type: str) -> bytes:
    """Return the content of the form's first part with a file name. Raises InvalidInput when there is none."""
    for part in form_parts(body, content_type):
        if part.is_file:
            return part.content
    raise InvalidInput("The form has no file: send the image as a part with a file name.", field="body", code="no_file")
