"""Recognise weight files by their headers."""

from core.catalogue.recognise.recognise import container_of, known_file, read_header, recognise, size_text

__all__ = ["container_of", "known_file", "read_header", "recognise", "size_text"]
