"""Explore, refine and follow the lineage through a whole farm with a real pipeline."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from PIL import Image

from benchmarks.faults.parts import FarmParts
from core.imagefile import read_metadata
from tests.integration.farm.client import Client
from tests.integration.farm.conftest import StartFarm

Body = dict[str, Any]
NETWORK = "realesr-animevideov3"
SIZES: Body = {"width": 128, "height": 128}


def content(client: Client, image_id: str) -> bytes:
    return client.http.get(f"/v1/images/{image_id}/content").content


def pixels(client: Client, image_id: str) -> Image.Image:
    return Image.open(BytesIO(content(client, image_id))).convert("RGB")


def refine(client: Client, image_id: str, **fields: object) -> str:
    answer = client.http.post(f"/v1/images/{image_id}/refine", json=fields)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def images(client: Client, job_id: str) -> list[str]:
    return [output["id"] for output in client.wait(job_id, "succeeded", seconds=90)["outputs"]]


def test_drafts_are_refined_and_their_lineage_is_walked(
    start_farm: StartFarm, client_of: Callable[[FarmParts], Client]
) -> None:
    client = client_of(start_farm(renderer="diffusers"))
    drafts = client.submit("a red fox", num_images=3, seed=5, num_inference_steps=4, strict=True)
    varied = client.submit(
        "a red fox", num_images=2, seed=5, num_inference_steps=4, variation_seed=6, variation_strength=1, strict=True
    )
    chosen = images(client, drafts["id"])[1]
    assert pixels(client, images(client, varied["id"])[0]).tobytes() == pixels(client, chosen).tobytes(), "5 becomes 6"

    jobs = {
        "hires": refine(client, chosen, **SIZES),
        "coherent": refine(client, chosen, mode="coherent", num_images=2),
        "again": refine(client, chosen, mode="coherent"),
        "same_seed": refine(client, chosen, mode="same_seed", **SIZES),
    }
    made = {name: images(client, job)[0] for name, job in jobs.items()}
    file = client.http.post("/v1/uploads", content=content(client, chosen), headers={"content-type": "image/png"}).json()
    by_hand = client.submit(
        "a red fox", init_image=file["id"], seed=6, num_inference_steps=4, start_sigma=0.5, strict=True, **SIZES
    )
    assert pixels(client, images(client, by_hand["id"])[0]).tobytes() == pixels(client, made["hires"]).tobytes()
    assert pixels(client, made["coherent"]).tobytes() == pixels(client, made["again"]).tobytes()
    assert pixels(client, made["coherent"]).tobytes() != pixels(client, made["same_seed"]).tobytes()
    retried = client.post(f"/v1/jobs/{jobs['again']}/retry")["id"]
    assert pixels(client, images(client, retried)[0]).tobytes() == pixels(client, made["again"]).tobytes()

    for name in ("hires", "coherent"):
        rerun = client.post(f"/v1/images/{made[name]}/rerun")["id"]
        assert pixels(client, images(client, rerun)[0]).tobytes() == pixels(client, made[name]).tobytes()

    known = read_metadata(content(client, made["coherent"])).imagefarm
    assert known is not None
    assert known.coherent is not None
    assert (known.parent, known.coherent.seed, known.coherent.width, known.seed) == (chosen, 6, 64, 6)
    text = read_metadata(content(client, images(client, varied["id"])[1])).parameters_text or ""
    assert "Seed: 5, Variation seed: 7, Variation seed strength: 1" in text

    enlarged = images(client, refine(client, chosen, upscaler=NETWORK, **SIZES))[0]
    assert pixels(client, enlarged).tobytes() != pixels(client, made["hires"]).tobytes()
    record = client.http.get(f"/v1/images/{enlarged}").json()
    assert (record["input"]["upscaler"], record["record"]["versions"]["upscaler"]) == (NETWORK, NETWORK)
    unknown = client.http.post(f"/v1/images/{chosen}/refine", json={"upscaler": "no-such-network"})
    assert (unknown.status_code, unknown.json()["code"], NETWORK in unknown.json()["detail"]) == (
        409,
        "upscaler_not_served",
        True,
    )

    leaf = images(client, refine(client, made["hires"], width=192, height=192))[0]
    up = client.http.get(f"/v1/images/{leaf}/lineage").json()["ancestors"]
    assert [each["id"] for each in up] == [made["hires"], chosen]
    down = client.http.get(f"/v1/images/{chosen}/lineage").json()["descendants"]
    assert {each["id"] for each in down} > {*made.values(), leaf}
    assert {each["mode"] for each in down} == {"hires", "coherent", "same_seed"}
