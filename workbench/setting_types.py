"""What every table of a profile is made of: the base class, and the kinds of value."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def as_whole(value: Any) -> Any:
    """A float without a fraction as an int."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def as_list(value: Any) -> Any:
    """A single text as a list of one."""
    return [value] if isinstance(value, str) else value


def as_sources(value: Any) -> Any:
    """A single text or table as a list of one."""
    return [value] if isinstance(value, str | dict) else value


WholeNumber = Annotated[int, BeforeValidator(as_whole)]  # TOML writes a billion as 1e9 too, which is a float there
PositiveInt = Annotated[WholeNumber, Field(gt=0)]
NonNegativeInt = Annotated[WholeNumber, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Files = Annotated[list[str], BeforeValidator(as_list, json_schema_input_type=str | list[str])]
OneOrMoreFiles = Annotated[
    list[str],
    Field(min_length=1),
    BeforeValidator(as_list, json_schema_input_type=str | Annotated[list[str], Field(min_length=1)]),
]


class Settings(BaseModel):
    """A table of a profile; unknown keys and values of another type are refused."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        populate_by_name=True,
        allow_inf_nan=False,
    )
