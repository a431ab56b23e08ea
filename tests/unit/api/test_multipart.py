"""Forms with more parts than a form has."""

from __future__ import annotations

import pytest

from api.multipart import MAX_PARTS, form_parts
from core.errors import InvalidInput

PART = b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n'
KIND = "multipart/form-data; boundary=x"


def test_the_number_of_parts_is_bounded() -> None:
    assert len(list(form_parts(PART * MAX_PARTS + b"--x--", KIND))) == MAX_PARTS
    with pytest.raises(InvalidInput, match="more than 200 parts"):
        list(form_parts(PART * (MAX_PARTS + 1) + b"--x--", KIND))
