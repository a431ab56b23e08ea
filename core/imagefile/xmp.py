"""The XMP packet: marks a picture as made by a trained algorithm (IPTC DigitalSourceType), and carries our JSON where
a format has no text chunks of its own."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, unescape

from core.imagefile.metadata import ImageMetadata

AI_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_OUR_JSON = re.compile(r"<imagefarm:metadata>([^<]*)</imagefarm:metadata>")
_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:imagefarm="urn:imagefarm:metadata:1#">
{properties}
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def mark_packet() -> bytes:
    """A packet that says no more than that the picture comes from a trained algorithm."""
    return _packet([_element("Iptc4xmpExt:DigitalSourceType", AI_SOURCE)])


def metadata_packet(metadata: ImageMetadata, *, with_json: bool) -> bytes:
    """The mark, the prompt as description, tool and time; our whole JSON too when `with_json`."""
    tool = f"imagefarm {metadata.farm_version}" if metadata.farm_version else "imagefarm"
    properties = [
        _element("Iptc4xmpExt:DigitalSourceType", AI_SOURCE),
        _element("xmp:CreatorTool", f"{tool} ({metadata.model})"),
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{_text(metadata.prompt)}</rdf:li></rdf:Alt>'
        "</dc:description>",
    ]
    if metadata.created_at is not None:
        properties.append(_element("xmp:CreateDate", metadata.created_at.isoformat()))
    if with_json:
        properties.append(_element("imagefarm:metadata", metadata.to_json()))
    return _packet(properties)


def is_ai_generated(packet: bytes) -> bool:
    """Whether the packet names a trained algorithm, alone or as part of a composite, as the source."""
    return b"trainedAlgorithmicMedia" in packet or b"TrainedAlgorithmicMedia" in packet


def json_in(packet: bytes) -> str | None:
    """Our JSON, when the packet carries it."""
    found = _OUR_JSON.search(packet.decode("utf-8", "replace"))
    return unescape(found[1]) if found else None


def _packet(properties: list[str]) -> bytes:
    return _PACKET.format(properties="\n".join(properties)).encode()


def _element(name: str, value: str) -> str:
    return f"<{name}>{_text(value)}</{name}>"


def _text(value: str) -> str:
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value))
