"""Names for diffusers' objects, which carry no useful types of their own."""

from __future__ import annotations

from typing import Any, TypeAlias

Pipeline: TypeAlias = Any
Scheduler: TypeAlias = Any
Tokenizer: TypeAlias = Any
Vae: TypeAlias = Any
