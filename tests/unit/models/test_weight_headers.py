"""Headers of safetensors and GGUF are read as they are; damaged and absurd ones end in a clear message."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
from pathlib import Path

import pytest

from core.catalogue.weight_headers import GGUF_TYPES, HeaderError, TensorInfo, gguf_header, safetensors_header
from tests.unit.models import weight_samples as samples

SMALL = {"a.weight": ("F32", [4, 32]), "a.bias": ("F32", [4])}


def raw_safetensors(file: Path, header: object, data: int = 0) -> Path:
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))
    return file


def test_safetensors_names_types_shapes_and_metadata(tmp_path: Path) -> None:
    file = samples.write_safetensors(tmp_path / "a.safetensors", SMALL, {"modelspec.title": "Mine"})
    header = safetensors_header(file)
    assert header.tensors == {"a.weight": TensorInfo("F32", (4, 32)), "a.bias": TensorInfo("F32", (4,))}
    assert header.metadata == {"modelspec.title": "Mine"}
    assert header.size_bytes == file.stat().st_size


def test_gguf_names_types_shapes_and_values(tmp_path: Path) -> None:
    file = samples.write_gguf(tmp_path / "a.gguf", SMALL, "Q8_0", "lumina2", general__name="Mine", some__tokens=["x"] * 5000)
    header = gguf_header(file)
    assert header.tensors == {"a.weight": TensorInfo("Q8_0", (4, 32)), "a.bias": TensorInfo("F32", (4,))}
    assert (header.metadata["general.name"], header.metadata["some.tokens"]) == ("Mine", None)


def test_the_table_of_types_is_that_of_the_gguf_package() -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    package = {kind.value: (kind.name, *GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType}
    assert {number: row for number, row in GGUF_TYPES.items() if number in package} == package


@pytest.mark.parametrize("container", ["safetensors", "gguf"])
def test_a_file_cut_anywhere_is_an_error(container: str, tmp_path: Path) -> None:
    if container == "gguf":
        whole, read = samples.write_gguf(tmp_path / "a", SMALL, "Q8_0", "x").read_bytes(), gguf_header
    else:
        whole, read = samples.write_safetensors(tmp_path / "a", SMALL).read_bytes(), safetensors_header
    padding = 16 if container == "gguf" else 0
    for length in range(0, len(whole) - padding, 3):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(HeaderError):
            read(tmp_path / "cut")


@pytest.mark.parametrize("container", ["safetensors", "gguf"])
def test_changed_bytes_never_raise_anything_else(container: str, tmp_path: Path) -> None:
    if container == "gguf":
        whole, read = samples.write_gguf(tmp_path / "a", SMALL, "Q8_0", "x", y=["a", "b"]).read_bytes(), gguf_header
    else:
        whole, read = samples.write_safetensors(tmp_path / "a", SMALL, {"k": "v"}).read_bytes(), safetensors_header
    source = random.Random(5)
    refused = 0
    for _ in range(400):
        changed = bytearray(whole)
        for _ in range(source.randint(1, 4)):
            changed[source.randrange(min(len(whole), 400))] = source.randrange(256)
        (tmp_path / "changed").write_bytes(changed)
        try:
            read(tmp_path / "changed")
        except HeaderError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    ("header", "phrase"),
    [
        ([], "damaged header"),
        ({"a": 1}, "damaged header"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "does not match its shape"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "impossible shape"),
        ({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, "impossible shape"),
        ({"a": {"dtype": "F32", "shape": [1] * 9, "data_offsets": [0, 4]}}, "impossible shape"),
        ({"a": {"dtype": "F32", "shape": [2**50], "data_offsets": [0, 2**52]}}, "impossible shape"),
        ({"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}, "unknown type F33"),
        ({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, "damaged header"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, "no place in the file"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "__metadata__": []}, "damaged header"),
        ({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, "cut off"),
        ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, "more than its header states"),
    ],
)
def test_absurd_safetensors_headers_are_named(header: object, phrase: str, tmp_path: Path) -> None:
    with pytest.raises(HeaderError, match=phrase):
        safetensors_header(raw_safetensors(tmp_path / "a", header, 4))


def test_deep_nesting_is_an_error(tmp_path: Path) -> None:
    text = b"[" * 200_000
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(HeaderError):
        safetensors_header(tmp_path / "a")


def gguf_bytes(tensors: int = 0, entries: int = 0, body: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + body


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        (gguf_bytes(version=1), "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(16), "big-endian"),
        (gguf_bytes(tensors=2**62), "states"),
        (gguf_bytes(entries=2**62), "states"),
        (gguf_bytes(entries=1, body=struct.pack("<Q", 2**40)), "bytes of text"),
        (gguf_bytes(entries=1, body=struct.pack("<Q1sIIQ", 1, b"k", 9, 4, 2**50)), "values of a list"),
        (gguf_bytes(entries=1, body=struct.pack("<Q1sIIQ", 1, b"k", 9, 4, 3_000_000)), "cut off"),
        (gguf_bytes(entries=1, body=struct.pack("<Q1sI", 1, b"k", 99)), "unknown type 99"),
        (gguf_bytes(tensors=1, body=struct.pack("<Q1sI", 1, b"k", 2**31)), "impossible shape"),
        (gguf_bytes(tensors=1, body=struct.pack("<Q1sIQIQ", 1, b"k", 1, 8, 77, 0)), "type 77"),
        (gguf_bytes(tensors=1, body=struct.pack("<Q1sIQIQ", 1, b"k", 1, 8, 0, 2**60)), "cut off"),
    ],
)
def test_absurd_gguf_headers_are_named(content: bytes, phrase: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(HeaderError, match=phrase):
        gguf_header(tmp_path / "a")


def test_a_header_that_claims_much_takes_little_memory(tmp_path: Path) -> None:
    file = tmp_path / "a"
    nested = struct.pack("<Q1sIIQ", 1, b"k", 9, 9, 64) + struct.pack("<IQ", 9, 64) * 3
    with file.open("wb") as opened:
        opened.write(gguf_bytes(entries=10_000, body=nested + struct.pack("<Q", 16 * 2**20)))
        opened.truncate(2**34)
    tracemalloc.start()
    try:
        with pytest.raises(HeaderError):
            gguf_header(file)
        assert tracemalloc.get_traced_memory()[1] < 300 * 2**20
    finally:
        tracemalloc.stop()
    huge = tmp_path / "b"
    with huge.open("wb") as opened:
        opened.write(struct.pack("<Q", 2**33))
        opened.truncate(2**34)
    with pytest.raises(HeaderError, match="not a safetensors file"):
        safetensors_header(huge)
