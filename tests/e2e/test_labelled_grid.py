"""A labelled grid through a whole farm: recipe, styles, a dynamic prompt and S/R as axes, rated and drawn."""

from __future__ import annotations

import io

from PIL import Image as Pillow

from imagefarm import ImageFarm
from tests.servers.farm import FarmProcess


def test_a_grid_is_rendered_labelled_and_rated(farm: FarmProcess) -> None:
    with ImageFarm(farm.api, retry_seconds=120) as client:
        client.styles.add("grid-ink", "ink drawing of {prompt}")
        batch = client.batch(
            ["a red {fox|owl}"],
            name="grid",
            seeds=[3],
            axes={"prompt_sr": ["red", "蓝色"], "styles": [[], ["grid-ink"]]},
            base={"size": "64x64", "num_inference_steps": 2, "dynamic": True},
        )
        done = client.batches.wait(batch, timeout_seconds=400)
        assert done.counts == {"succeeded": 4}
        jobs = [client.get(item.job_id) for item in done.jobs]
        texts = {job.input["prompt"] for job in jobs}
        animal = jobs[0].input["prompt"].split()[-1]
        assert texts == {text + animal for text in ("a red ", "a 蓝色 ", "ink drawing of a red ", "ink drawing of a 蓝色 ")}
        client.rate(done.jobs[0].outputs[0], 5)
        rows = {(row.axis, row.label): row.mean_rating for row in client.batches.get(done).ratings}
        assert rows["prompt_sr", "red"] == rows["styles", "no style"] == 5.0
        assert rows["styles", "style grid-ink"] is None
        sheet = Pillow.open(io.BytesIO(client.batches.contact_sheet(done))).convert("RGB")
        files = [Pillow.open(io.BytesIO(client.content(item.outputs[0]))).convert("RGB") for item in done.jobs]
    left, top = sheet.width - 2 * 72, sheet.height - 2 * 72 - 8
    for number, file in enumerate(files):
        x, y = left + number % 2 * 72, top + number // 2 * 72
        assert sheet.crop((x, y, x + 64, y + 64)).tobytes() == file.tobytes(), "rows are S/R, columns styles"
