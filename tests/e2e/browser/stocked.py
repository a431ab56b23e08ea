"""A farm with something of everything that a page shows: weight files, LoRAs, a hub, wildcards, an upscaling worker."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.faults.parts import FarmParts, Part
from tests.conftest import Migrate
from tests.integration.farm.conftest import environment_of, running_parts
from tests.integration.models.hub_server import HubServer
from tests.unit.models import weight_samples as samples

HELD_AFTER = 400_000
"""Bytes of a weight file after which the hub stalls until it is released."""
TURBO = "Tongyi-MAI/Z-Image-Turbo"
_WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
WAIT_SECONDS = 280


@dataclass
class StockedFarm:
    """The farm's parts and the hub that it pulls from."""

    parts: FarmParts
    hub: HubServer
    weights: Path

    @property
    def url(self) -> str:
        return self.parts.url

    def start_worker(self, name: str, model: str) -> None:
        """Start one more worker."""
        environment = self.parts.parts["worker0"].environment | {"IMAGEFARM_WORKER_NAME": name, "IMAGEFARM_MODEL": model}
        part = Part(name, ["worker"], environment, self.parts.directory, self.parts.launch)
        self.parts.parts[name] = part
        part.start()

    def stop_worker(self, name: str) -> None:
        """Stop a worker that was started here, and forget it."""
        self.parts.parts.pop(name).stop()

    def add_checkpoint(self, name: str) -> None:
        """Put a file into the folder of checkpoints."""
        samples.write_safetensors(self.weights / "checkpoints" / name, samples.checkpoint("sd15"))

    def submit(self, prompt: str, **more: object) -> str:
        """Submit a small job, as any client may, and return its id."""
        body = {"prompt": prompt, "size": "64x64", **more}
        answer = httpx.post(f"{self.url}/v1/jobs", json=body)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job as the API shows it."""
        found: dict[str, Any] = httpx.get(f"{self.url}/v1/jobs/{job_id}").json()
        return found

    def image(self, image_id: str) -> dict[str, Any]:
        """Return an image as the API shows it."""
        found: dict[str, Any] = httpx.get(f"{self.url}/v1/images/{image_id}").json()
        return found

    def image_status(self, image_id: str) -> int:
        """Return the HTTP status of an image: 200 while it exists."""
        return httpx.get(f"{self.url}/v1/images/{image_id}").status_code

    def stored_status(self, job_id: str) -> str:
        """Return the status of a job in the database, also while the API is away."""
        path = self.parts.database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=60)) as database:
            return str(database.execute("SELECT status FROM jobs WHERE id = ?", (job_id,)).fetchone()[0])

    def render(self, prompt: str = "a red fox in snow", **more: object) -> dict[str, Any]:
        """Render small images of one step and return the job once it has ended well."""
        body = {"prompt": prompt, "num_inference_steps": 1, "size": "64x64", **more}
        headers = {"Prefer": f"wait={WAIT_SECONDS}"}
        job: dict[str, Any] = httpx.post(f"{self.url}/v1/jobs", json=body, headers=headers, timeout=WAIT_SECONDS + 30).json()
        assert job["status"] == "succeeded", job
        return job


@contextmanager
def stocked_farm(directory: Path, migrate: Migrate) -> Iterator[StockedFarm]:
    """Yield such a farm; its steps take 0.1 s, and a job has one attempt."""
    weights, url = directory / "ComfyUI" / "models", f"sqlite:///{directory / 'farm.db'}"
    samples.write_safetensors(weights / "checkpoints" / "dream shaper.safetensors", samples.checkpoint("sd15"))
    samples.write_safetensors(weights / "loras" / "ink.safetensors", samples.lora("diffusion_model.layers.0.attention.to_q"))
    samples.write_safetensors(weights / "unet" / "lonely.safetensors", samples.unet("sd21"))
    (weights / "loras" / "broken.safetensors").write_bytes(b"<html>")
    migrate(url)
    with ExitStack() as stack:
        hub = stack.enter_context(HubServer({TURBO: _repository(directory / "repository")}))
        hub.held_after[_WEIGHTS] = HELD_AFTER
        settings = environment_of({"synthetic_step_seconds": 0.1, "max_attempts": 1, "weights_dirs": weights})
        settings |= {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(directory / "hub")}
        parts = stack.enter_context(running_parts(directory, url, 1, settings, upscalers=1))
        wildcards = {"color": "red\nblue\ndark green", "weather": "rain\nsnow"}
        for name, text in wildcards.items():
            httpx.put(f"{parts.url}/v1/wildcards/{name}", json={"text": text}).raise_for_status()
        yield StockedFarm(parts, hub, weights)


def _repository(folder: Path) -> Path:
    """Write the files of a pull whose weights are never read: it is canceled while they are on their way."""
    files = {
        "model_index.json": b'{"_class_name": "ZImagePipeline", "transformer": ["diffusers", "ZImageTransformer2DModel"]}'
    }
    files |= {"transformer/config.json": b"{}", _WEIGHTS: bytes(2 * HELD_AFTER)}
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
