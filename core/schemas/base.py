"""Base classes and text types of the API's schemas, and its error responses (RFC 9457)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

_NULL: dict[str, str] = {"type": "null"}
_NOTES = frozenset({"description", "title", "examples", "deprecated", "default"})
"""Keywords of a JSON schema that describe a field and do not restrict its values."""


class NullableBody(BaseModel):
    """Base of all requests, of every face: null means that the field is not given, and so does the OpenAPI document.

    Client libraries send null for what their user left out. Null is a value only of a required field whose type has it.
    True and false are no numbers: pydantic would take them for 1 and 0.
    """

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 -- any JSON value
        return refuse_boolean(value) if info.field_name in _fields_of_numbers(cls) else value

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:  # noqa: ANN401 -- any JSON value
        if not isinstance(data, dict) or None not in data.values():
            return data
        return {name: value for name, value in data.items() if value is not None or not cls._drops_null(name)}

    @classmethod
    def _drops_null(cls, name: str) -> bool:
        """Return whether null is dropped from a field; an unknown one is dropped where unknown fields are allowed."""
        field = next((field for known, field in cls.model_fields.items() if name in _names(known, field)), None)
        if field is None:
            return cls.model_config.get("extra") == "allow"
        return not (field.is_required() and _takes_null(field))

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)
        properties = schema.get("properties", {})
        for name in properties.keys() - set(schema.get("required", ())):
            properties[name] = _with_null(properties[name])
        return reference


@cache
def _fields_of_numbers(model: type[BaseModel]) -> frozenset[str]:
    """Return the fields that take a number, or lists of numbers, and no booleans."""
    taken = {name: _value_types(field.annotation) for name, field in model.model_fields.items()}
    return frozenset(name for name, types in taken.items() if types & {int, float} and bool not in types)


def _value_types(annotation: Any) -> set[Any]:  # noqa: ANN401 -- any type of a field
    inner = get_args(annotation)
    return set().union(*map(_value_types, inner)) if inner else {annotation} if isinstance(annotation, type) else set()


def refuse_boolean(value: Any) -> Any:  # noqa: ANN401 -- any JSON value
    """Return the value. Raises ValueError for true and false, and for lists of them."""
    if _holds_boolean(value):
        raise ValueError("true and false are no numbers: send a number")
    return value


def _holds_boolean(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, list) and any(map(_holds_boolean, value)))


def _names(name: str, field: FieldInfo) -> tuple[str, ...]:
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return (name, *(choice for choice in choices if isinstance(choice, str)))


def names_of(model: type[BaseModel]) -> dict[str, str]:
    """Return field names and aliases -> field name."""
    return {each: name for name, field in model.model_fields.items() for each in _names(name, field)}


def _takes_null(field: FieldInfo) -> bool:
    try:
        TypeAdapter(field.rebuild_annotation()).validate_python(None)
    except ValidationError:
        return False
    return True


def _with_null(schema: JsonSchemaValue) -> JsonSchemaValue:
    """Add null to the values that a field's schema allows."""
    if not schema.keys() - _NOTES or _NULL in schema.get("anyOf", ()):
        return schema  # Any value is allowed, or null is already.
    values = {name: value for name, value in schema.items() if name not in _NOTES}
    choices = values["anyOf"] if set(values) == {"anyOf"} else [values]
    return {"anyOf": [*choices, _NULL], **{name: value for name, value in schema.items() if name in _NOTES}}


class RequestBody(NullableBody):
    """Base of the native API's requests: unknown fields are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=1_000_000)


class ResponseBody(BaseModel):
    """Base of responses. Clients ignore unknown fields: later versions add some."""

    model_config = ConfigDict(frozen=True)


def storable(text: str) -> str:
    """Check that both databases and UTF-8 can store the text. Raises ValueError for NUL and lone surrogates."""
    if "\x00" in text:
        raise ValueError("must not contain the NUL character (U+0000): remove it")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half of a surrogate pair, which is not a character: send valid Unicode") from None
    return text


Text = Annotated[str, AfterValidator(storable)]


def iso(seconds: float | None) -> datetime | None:
    """Convert epoch seconds to an aware UTC time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def epoch_seconds(moment: datetime | None) -> float | None:
    """Convert a time to epoch seconds; one without a zone is UTC."""
    if moment is None:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


class FieldError(ResponseBody):
    """One invalid value; `field` is its path in the request, such as `width` or `prompts.3`."""

    field: str
    message: str


class Problem(ResponseBody):
    """application/problem+json. `code` is stable; `detail` tells people what to do."""

    type: str = Field(description="A URI of the code.", examples=["urn:imagefarm:problem:invalid_input"])
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldError] = Field(default_factory=list)
    instance: str | None = Field(None, description="Path of the request.")
    retry_after_seconds: float | None = None
    request_id: str | None = None
