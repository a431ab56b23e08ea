"""Take the file out of a form that a browser or curl sends (RFC 7578)."""

from __future__ import annotations

import re

from core.errors import InvalidInput

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)
_MAX_HEADERS = 8192
_FILE = re.compile(rb"^content-disposition:[^\r\n]*\bfilename\*?=", re.IGNORECASE | re.MULTILINE)


def first_file(body: bytes, content_type: str) -> bytes:
    """Return the content of the form's first part with a file name. Raises InvalidInput when there is none."""
    found = _BOUNDARY.search(content_type)
    mark = b"--" + (found[1] or found[2]).encode("latin-1", "replace") if found else b""
    position = body.find(mark) if found else -1
    while position >= 0:
        start = position + len(mark)
        headers_end = body.find(b"\r\n\r\n", start, start + _MAX_HEADERS)
        end = body.find(b"\r\n" + mark, start)
        if headers_end < 0 or end < headers_end:
            break
        if _FILE.search(body[start:headers_end]):
            return body[headers_end + 4 : end]
        position = end + 2
    raise InvalidInput("The form has no file: send the image as a part with a file name.", field="body", code="no_file")
