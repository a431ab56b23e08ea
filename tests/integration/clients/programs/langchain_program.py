"""Generate with LangChain's wrapper of DALL-E; print the link that it returned as JSON."""

from __future__ import annotations

import json
import sys
import warnings

warnings.simplefilter("ignore")

from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper  # noqa: E402

URL, KEY = sys.argv[1:3]


def main() -> None:
    """Call the farm as LangChain's users do."""
    wrapper = DallEAPIWrapper(api_key=KEY, base_url=f"{URL}/v1", model="dall-e-3", size="1024x1024", max_retries=0)
    sys.stdout.write(json.dumps({"url": wrapper.run("a fox")}))


main()
