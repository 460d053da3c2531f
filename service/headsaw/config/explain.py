"""Says in plain words what pydantic found: one Problem per finding, by the path that its author wrote."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from headsaw.config.suggest import closest
from headsaw.core.settings import Duration, S3Prefix, Size, format_duration, format_size
from headsaw.errors import Problem

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Location = Sequence[int | str]

_VALUE_CHARS_MAX = 60

_TEXTS: Mapping[str, tuple[str, str]] = {
    "missing": ("is required", "add it: {about}"),
    "literal_error": ("{value} is none of its values", "use {expected}"),
    "string_type": ("must be text, not {value}", "put it in quotes"),
    "int_type": ("must be a whole number, not {value}", "write digits only"),
    "int_parsing": ("must be a whole number, not {value}", "write digits only"),
    "int_from_float": ("must be a whole number, not {value}", "write digits only"),
    "float_type": ("must be a number, not {value}", "write it as 0.05"),
    "float_parsing": ("must be a number, not {value}", "write it as 0.05"),
    "bool_type": ("must be true or false, not {value}", "write true or false"),
    "bool_parsing": ("must be true or false, not {value}", "write true or false"),
    "greater_than_equal": ("{value} is too small", "use {ge} or more"),
    "greater_than": ("{value} is too small", "use more than {gt}"),
    "less_than_equal": ("{value} is too large", "use {le} or less"),
    "string_pattern_mismatch": ("{value} doesn't have the right form", "{about}"),
    "string_too_short": ("it is empty", "write something, or leave the key out"),
    "too_short": ("it is empty", "give at least one"),
    "tuple_type": ("must be a list, not {value}", "write it as [a, b], or one a line behind dashes"),
    "model_type": ("must be a mapping, not {value}", "write keys and values below it, or leave it out"),
    "dict_type": ("must be a mapping, not {value}", "write keys and values below it, or leave it out"),
    "invalid_key": ("keys must be text", "put the key in quotes"),
}


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The model's fields by the names that the configuration uses."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def model_in(annotation: object) -> type[BaseModel] | None:
    """The settings that a field holds, be they optional or in a list; a prefix counts as a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return None if annotation is S3Prefix else annotation
    return next((found for part in get_args(annotation) if (found := model_in(part)) is not None), None)


def field_at(root: type[BaseModel], location: Location) -> FieldInfo | None:
    """The field that a location leads to, positions in lists left aside; None where there is none."""
    model: type[BaseModel] | None = root
    field: FieldInfo | None = None
    for step in location:
        if isinstance(step, int):
            continue
        field = keys_of(model).get(step) if model is not None else None
        if field is None:
            return None
        model = model_in(field.annotation)
    return field


def key_paths(model: type[BaseModel]) -> list[str]:
    """Every key that leads to a value, dotted: `http.port`."""
    paths = []
    for key, info in keys_of(model).items():
        inner = model_in(info.annotation)
        paths += [key] if inner is None else [key, *(f"{key}.{below}" for below in key_paths(inner))]
    return paths


def child(written: object, step: int | str) -> object:
    """What stands below a value under that key or position; None where nothing does."""
    if isinstance(written, list):
        return written[step] if isinstance(step, int) and step < len(written) else None
    return written.get(step) if isinstance(written, dict) else None


def path_of(location: Location, written: object) -> str:
    """`datasets[1].batch.max_age`; a position within what wasn't written as a list is left out."""
    path = ""
    for step in location:
        if isinstance(written, list) and isinstance(step, int):
            path += f"[{step}]"
        elif isinstance(step, str) or isinstance(written, dict):
            path += f".{step}" if path else str(step)
        written = child(written, step)
    return path


def explain(root: type[BaseModel], error: ValidationError, written: object) -> list[Problem]:
    """One problem per finding, in the order of the configuration's fields."""
    return [
        _problem(root, detail, written)
        for detail in error.errors(include_url=False)
        if detail["type"] != "too_short" or not _at(written, detail["loc"])  # pydantic counts the sound items only
    ]


def _problem(root: type[BaseModel], detail: "ErrorDetails", written: object) -> Problem:
    location = detail["loc"]
    path = path_of(location, written)
    context = detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        return Problem(path, "unknown key", _suggestion(root, location))
    if detail["type"] == "headsaw":
        return Problem(path, str(context["message"]), str(context["remedy"]))
    message, remedy = _TEXTS.get(detail["type"], (detail["msg"].replace("{", "{{").replace("}", "}}"), "{about}"))
    field = field_at(root, location)
    words = {
        "value": _shown(_at(written, location)),
        "about": (field.description if field is not None else None) or "see docs/configuration.md",
        **{name: _limit(value, field) for name, value in context.items()},
    }
    return Problem(path, message.format_map(words), remedy.format_map(words))


def _suggestion(root: type[BaseModel], location: Location) -> str:
    """What an unknown key may have been meant to be: a key beside it or below it, else the list of those beside it."""
    parent = field_at(root, location[:-1])
    model = root if parent is None else model_in(parent.annotation)
    if model is None:
        return ""
    name = str(location[-1])
    below = [path for path in key_paths(model) if path.rpartition(".")[2] == name]
    if below:
        return f"did you mean {below[0]}?"
    return closest(name, keys_of(model)) or f"known here: {', '.join(keys_of(model))}"


def _at(written: object, location: Location) -> object:
    """The value as written, or the nearest one around it."""
    for step in location:
        if not isinstance(written, dict | list):
            break
        written = child(written, step)
    return written


def _shown(value: object) -> str:
    """The value as its author would recognise it, cut where it is long."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _VALUE_CHARS_MAX else f"{text[:_VALUE_CHARS_MAX]}…"


def _limit(value: object, field: FieldInfo | None) -> str:
    """A limit in the field's own unit."""
    unit = unit_of(field) if field is not None else None
    return str(value) if unit is None or not isinstance(value, int | float) else unit(value)


def unit_of(field: FieldInfo) -> Callable[[float], str] | None:
    """How a field's numbers are written if they are durations or sizes, be they optional; None for other fields."""
    marks = [*field.metadata, *(mark for part in get_args(field.annotation) for mark in get_args(part))]
    units: tuple[tuple[object, Callable[[float], str]], ...] = ((Duration, format_duration), (Size, format_size))
    return next((unit for kind, unit in units if all(mark in marks for mark in get_args(kind)[1:])), None)
