"""Adapters on quantised and streamed models: several loaded, one active, none left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.catalogue.loras import LoraLibrary
from core.render import LoraRequest
from tests.integration.models.conftest import Load, catalogue_row
from tests.integration.models.rendering import render_small
from tests.integration.models.test_tiers import CPU
from worker.memory.apply import apply_tier
from worker.memory.tiers import Tier
from worker.models.tiny_models.build import build_lora
from worker.pipelines.adapters import Adapters

TIERS = {
    "int8": None,
    "streamed": Tier("streamed-on-cpu", "", "cpu", denoiser_place="streamed"),
    "streamed-fp8": Tier("both-on-cpu", "", "cpu", denoiser="fp8-cast", denoiser_place="streamed"),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")  # Several are intended here.
@pytest.mark.parametrize("name", TIERS)
def test_adapters_come_and_go_on_a_tier(load: Load, tmp_path: Path, name: str) -> None:
    stock = load("z-image-turbo").pipeline
    for seed, label in enumerate(("ink", "gold", "third")):
        build_lora(stock, tmp_path / "made", seed).rename(_in(tmp_path / "loras", f"{label}.safetensors"))
    tier = TIERS[name]
    pipeline = load("z-image-turbo", "cpu-int8").pipeline if tier is None else stock
    if tier is not None:
        apply_tier(pipeline, tier, CPU, lambda _: None)
    adapters = Adapters(pipeline, catalogue_row("z-image-turbo"), LoraLibrary(tmp_path))

    def rendered(*names: str) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        adapters.activate(tuple(LoraRequest(name=each) for each in names))
        return np.asarray(render_small(pipeline))

    bare, inked, golden = rendered(), rendered("ink"), rendered("gold")
    assert not np.array_equal(bare, inked)
    assert not np.array_equal(inked, golden)
    both = rendered("gold", "ink")
    for names, expected in ((("ink",), inked), ((), bare), (("gold", "ink"), both), (("gold",), golden), ((), bare)):
        assert np.array_equal(rendered(*names), expected), names
    size = next(iter(adapters._loaded.values())).bytes
    adapters._max_bytes = size
    rendered("third")
    assert len(adapters._loaded) == 1
    assert np.array_equal(rendered("ink"), inked), "it is loaded again after it was deleted"
    assert np.array_equal(rendered(), bare)


def _in(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    return folder / name
