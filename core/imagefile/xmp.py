"""XMP packets, which mark an image as AI-made (IPTC DigitalSourceType) and hold imagefarm's JSON where a format has no text
chunks."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, unescape

from core.imagefile.metadata import ImageMetadata

AI_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

ENHANCED_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicallyEnhanced"
"""For an image from elsewhere that was enlarged: whether a model made it is not known."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_JSON_ELEMENT = re.compile(r"<imagefarm:metadata>([^<]*)</imagefarm:metadata>")
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
    """Return a packet with nothing but the mark that the image comes from a trained algorithm."""
    return _packet([_element("Iptc4xmpExt:DigitalSourceType", AI_SOURCE)])


def metadata_packet(metadata: ImageMetadata, *, with_json: bool) -> bytes:
    """Return a packet with the mark, the prompt as description, tool and time; also imagefarm's JSON if `with_json`."""
    tool = f"imagefarm {metadata.farm_version}" if metadata.farm_version else "imagefarm"
    properties = [
        _element("Iptc4xmpExt:DigitalSourceType", AI_SOURCE if metadata.num_inference_steps else ENHANCED_SOURCE),
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
    """Return whether the packet names a trained algorithm, alone or in a composite, as the source."""
    return b"trainedAlgorithmicMedia" in packet or b"TrainedAlgorithmicMedia" in packet


def json_in(packet: bytes) -> str | None:
    """Return imagefarm's JSON; None when the packet has none."""
    found = _JSON_ELEMENT.search(packet.decode("utf-8", "replace"))
    return unescape(found[1]) if found else None


def _packet(properties: list[str]) -> bytes:
    return _PACKET.format(properties="\n".join(properties)).encode()


def _element(name: str, value: str) -> str:
    return f"<{name}>{_text(value)}</{name}>"


def _text(value: str) -> str:
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value))
