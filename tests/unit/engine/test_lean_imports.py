"""An engine imports the compiler and the LoRA library only for use, and both then work; in a process of its own."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from worker.engine.lean_imports import import_leanly
import_leanly(compiles=False)
import torch
from core.deferred_imports import is_imported
from worker.engine import builder
from diffusers import ZImageTransformer2DModel
from diffusers.utils.torch_utils import is_compiled_module
from transformers import Qwen3Config, Qwen3Model

with torch.device("meta"):  # as models are made before their weights are read
    encoder = Qwen3Model(Qwen3Config(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, head_dim=4))
assert not is_compiled_module(encoder)
heavy = ("torch._dynamo", "torch.fx.experimental.symbolic_shapes", "sympy", "peft", "torch.distributed.tensor")
assert not [name for name in heavy if is_imported(name)], [name for name in heavy if is_imported(name)]
models = [name for name in sys.modules if name.startswith("diffusers.models.transformers.transformer_")]
assert len(models) < 5, models

compiled = torch.compile(torch.nn.Linear(2, 2), backend="eager")
assert compiled(torch.ones(1, 2)).shape == (1, 2)
assert is_imported("torch._dynamo") and is_imported("sympy")
assert is_compiled_module(compiled) and not is_compiled_module(encoder)

from peft import LoraConfig, inject_adapter_in_model
from diffusers.loaders.lora_base import BaseTunerLayer
model = inject_adapter_in_model(LoraConfig(r=1, target_modules=["0"]), torch.nn.Sequential(torch.nn.Linear(2, 2)))
assert isinstance(model[0], BaseTunerLayer)
"""


def test_heavy_libraries_are_imported_for_use_only() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


MODELS = """
from pathlib import Path
from worker.engine.lean_imports import import_leanly
import_leanly(compiles=False)
import transformers
from transformers.utils import import_utils

names = transformers._class_to_module
from worker.engine import builder
from transformers import CLIPTokenizerFast, CLIPTextModel, Qwen2_5_VLForConditionalGeneration, Qwen3Model
assert len(names) < 1000, len(names)  # of 4100
assert CLIPTokenizerFast is transformers.CLIPTokenizer

from diffusers.pipelines.pipeline_loading_utils import ALL_IMPORTABLE_CLASSES
wanted = {name: getattr(transformers, name, None) for name in ALL_IMPORTABLE_CLASSES}
assert len(names) < 1000, len(names)
assert not hasattr(transformers, "NoSuchModel")

models = Path(transformers.__file__).parent / "models"
usual_module = import_utils._LazyModule.__base__
usual = usual_module("transformers", transformers.__file__, import_utils.define_import_structure.args[0](models, "models"))
assert {name: names[name] for name in usual._class_to_module} == usual._class_to_module
assert transformers._modules >= usual._modules and "Qwen3Model" in transformers.__all__ and "generation" in dir(transformers)
assert not [name for name, found in wanted.items() if found is None and name in usual._class_to_module]
assert transformers._object_missing_backend == usual._object_missing_backend
assert transformers.models.qwen3.Qwen3Model is Qwen3Model
"""


def test_a_model_of_transformers_is_found_without_reading_all() -> None:
    done = subprocess.run([sys.executable, "-c", MODELS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
