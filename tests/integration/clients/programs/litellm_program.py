"""Generate and edit with litellm; print what it returned as JSON."""

from __future__ import annotations

import io
import json
import sys

import litellm

URL, KEY, PNG = sys.argv[1:4]


def main() -> None:
    """Call the farm as litellm's users do, with the prefix `openai/` before the model."""
    common = {"api_base": f"{URL}/v1", "api_key": KEY, "num_retries": 0}
    made = litellm.image_generation(model="openai/demo", prompt="a fox", n=2, size="64x64", **common)
    coded = litellm.image_generation(model="openai/gpt-image-1", prompt="a fox", size="64x64", **common)
    file = io.BytesIO(bytes.fromhex(PNG))
    file.name = "a.png"
    edited = litellm.image_edit(model="openai/gpt-image-1", image=[file], prompt="a hat", **common)
    try:
        litellm.image_generation(model="openai/no-such", prompt="x", **common)
    except litellm.NotFoundError as error:
        refused = str(error)
    found = {
        "urls": [image.url for image in made.data],
        "base64": bool(coded.data[0].b64_json),
        "edited": bool(edited.data[0].b64_json),
        "refused": refused,
    }
    sys.stdout.write(json.dumps(found))


main()
