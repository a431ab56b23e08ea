"""Weight files that diffusers and transformers save themselves are recognised, for every family."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.catalogue import load_catalogue
from core.catalogue.recognise import recognise
from worker.models.tiny_models import TINY_MODELS

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
KNOWN = [model.id for model in load_catalogue() if model.id in TINY_MODELS and model.architecture]


@pytest.mark.parametrize("model_id", KNOWN)
def test_a_folder_and_each_of_its_components_are_recognised(model_id: str, tiny_models: dict[str, Path]) -> None:
    model, folder = load_catalogue().get(model_id), tiny_models[model_id]
    whole = recognise(folder)
    assert (whole.kind, whole.architectures) == ("checkpoint", (model.architecture,))
    assert set(whole.components) == set(model.weights.parameters)
    for component in model.weights.parameters:
        (file,) = (folder / component).glob("*.safetensors")
        found = recognise(file)
        assert component in found.components, found.sentence
        # A tiny text encoder's width does not tell Stable Diffusion 1 and 2 apart.
        if (component, model.architecture) != ("text_encoder", "sd21"):
            assert model.architecture in found.architectures, found.sentence
