"""Names for diffusers' objects, which carry no useful types of their own."""

from __future__ import annotations

from typing import Any, TypeAlias

Attention: TypeAlias = Any
Pipeline: TypeAlias = Any
Scheduler: TypeAlias = Any
Tokenizer: TypeAlias = Any
Vae: TypeAlias = Any
