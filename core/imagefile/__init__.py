"""Image files: encode with metadata that other tools read, read it back, open untrusted files safely."""

from core.imagefile.base64_text import decode_base64_image
from core.imagefile.conversion import convert, thumbnail
from core.imagefile.encoding import EXTENSIONS, MEDIA_TYPES, ImageFormat, encode, encode_png
from core.imagefile.metadata import FileMetadata, ImageMetadata, Parameters
from core.imagefile.reading import open_image, open_rgb, open_with_alpha, read_metadata

__all__ = [
    "EXTENSIONS",
    "MEDIA_TYPES",
    "FileMetadata",
    "ImageFormat",
    "ImageMetadata",
    "Parameters",
    "convert",
    "decode_base64_image",
    "encode",
    "encode_png",
    "open_image",
    "open_rgb",
    "open_with_alpha",
    "read_metadata",
    "thumbnail",
]
