"""Call the farm with a client that openapi-python-client generated; print what it returned as JSON."""

from __future__ import annotations

import importlib
import io
import json
import sys
from pathlib import Path
from typing import Any

URL, KEY, FOLDER = sys.argv[1:4]
sys.path.insert(0, FOLDER)


def call(tag: str, name: str, **arguments: Any) -> Any:  # noqa: ANN401 -- generated types
    """Return what an operation returns; the farm's operation ids end in the path and method."""
    package = importlib.import_module(f"client.api.{tag}")
    folder = next(iter(package.__path__))
    module = next(file.stem for file in sorted(Path(folder).glob(f"{name}_*.py")))
    return importlib.import_module(f"client.api.{tag}.{module}").sync_detailed(client=CLIENT, **arguments)


models = importlib.import_module("client.models")
types = importlib.import_module("client.types")
CLIENT = importlib.import_module("client").AuthenticatedClient(base_url=URL, token=KEY)
PNG = bytes.fromhex(sys.argv[4])


def main() -> None:
    """Upload, submit, wait, list, render on the faces, and read an error."""
    upload = call("uploads", "create_upload", body=types.File(payload=io.BytesIO(PNG))).parsed
    request = models.JobRequest(prompt="a fox", init_image=upload.id, width=64, height=64)
    job = call("jobs", "create_job", body=request).parsed
    ended = call("jobs", "read_job", job_id=job.id, wait=60.0).parsed
    made = call("openai", "generate", body=models.ImagesRequest(prompt="a fox", size="64x64")).parsed
    form = models.ImageEditRequestForm(
        prompt="a hat", image=types.File(payload=io.BytesIO(PNG), file_name="a.png", mime_type="image/png")
    )
    edited = call("openai", "edit", body=form).parsed
    drawn = call("a1111", "txt2img", body=models.Txt2Img(prompt="a fox", width=64, height=64)).parsed
    wrong = call("jobs", "create_job", body=models.JobRequest(prompt="", width=65)).parsed
    found = {
        "job": [ended.status, ended.outputs[0].width],
        "listed": [each.id for each in call("models", "read_models").parsed.data][:1],
        "made": made.data[0].url,
        "edited": edited.job_id,
        "drawn": len(drawn.images),
        "refused": [wrong.status, wrong.code, [error.field for error in wrong.errors]],
    }
    sys.stdout.write(json.dumps(found))


main()
