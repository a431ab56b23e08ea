"""The set of models, read from models.toml, looked up by id or alias."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from core.catalogue.model import CatalogueModel
from core.errors import InvalidInput


class Catalogue:
    """Models by id; aliases lead to the same row."""

    def __init__(self, models: list[CatalogueModel]) -> None:
        self._models = {model.id: model for model in models}
        self._names: dict[str, str] = {}
        for model in models:
            for name in (model.id, *model.aliases):
                if name in self._names:
                    raise ValueError(f"'{name}' means both {self._names[name]} and {model.id}")
                self._names[name] = model.id

    def __iter__(self) -> Iterator[CatalogueModel]:
        return iter(self._models.values())

    def get(self, name: str) -> CatalogueModel:
        """The model of that id or alias; InvalidInput names the ones there are."""
        try:
            return self._models[self._names[name]]
        except KeyError:
            known = ", ".join(self._models)
            raise InvalidInput(
                f"There is no model called '{name}'. Known models: {known}.", field="model", code="unknown_model"
            ) from None


@cache
def load_catalogue() -> Catalogue:
    """The catalogue that ships with the farm."""
    data = tomllib.loads(files("core.catalogue").joinpath("models.toml").read_text(encoding="utf-8"))
    return Catalogue([CatalogueModel.model_validate(row) for row in data["model"]])
