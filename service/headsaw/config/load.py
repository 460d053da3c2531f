"""Reads the configuration: the file first, then the environment over it, then everything is validated together."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import yaml
from pydantic import ValidationError

from headsaw.config.checks import cross_checks
from headsaw.config.explain import explain, field_at, key_paths
from headsaw.config.settings import ServiceSettings
from headsaw.config.suggest import closest
from headsaw.errors import ConfigError, Problem

PREFIX = "HEADSAW_"
"""Environment variables that begin with it override the file; `__` leads into a nested key."""

CONFIG_VARIABLE = "HEADSAW_CONFIG"
PARSER_VARIABLE = "HEADSAW_PARSER"
SPARK_PYTHON_VARIABLE = "HEADSAW_SPARK_PYTHON"
NO_SETTINGS = frozenset({CONFIG_VARIABLE, PARSER_VARIABLE, SPARK_PYTHON_VARIABLE})
"""Variables of headsaw's that configure no setting: they name the file, the parser, and the demo's Python for Spark."""

_LIST = "datasets"
"""The one list of mappings; no variable leads into it."""

_SERVICE_LINK = re.compile(r"HEADSAW_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)")
"""What Kubernetes sets for a Service called headsaw or headsaw-…, in every pod of its namespace."""


def load(path: Path | None, environ: Mapping[str, str]) -> ServiceSettings:
    """The settings that the file (if any) and the environment make together; raises ConfigError with all problems."""
    written, problems = read(path) if path is not None else ({}, [])
    origins, unset = overlay(written, environ)
    problems += unset
    settings, found = validate(written)
    problems += [_with_origin(problem, origins) for problem in found]
    if problems or settings is None:
        raise ConfigError(problems)
    return settings


def validate(written: Mapping[str, object]) -> tuple[ServiceSettings | None, list[Problem]]:
    """The settings, if every value is sound; and all problems, those between values included."""
    try:
        settings = ServiceSettings.model_validate(written, by_alias=True, by_name=False)
    except ValidationError as error:
        return None, [*explain(ServiceSettings, error, written), *cross_checks(written)]
    return settings, cross_checks(written)


def read(path: Path) -> tuple[dict[str, object], list[Problem]]:
    """The file's mapping and its repeated keys; raises ConfigError for a file that can't be read as a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _refused(str(path), "there is no such file", "check the path that -c names") from None
    except UnicodeDecodeError as error:
        raise _refused(str(path), f"it isn't UTF-8 at byte {error.start}", "save it as UTF-8") from error
    except OSError as error:
        raise _refused(str(path), f"it can't be read: {error.strerror}", "name a readable file") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        written: object = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that isn't one
        raise ConfigError([_syntax(path, error)]) from error
    if written is None:
        return {}, []
    if not isinstance(written, dict):
        raise _refused(str(path), "it holds no mapping of keys to values", "begin with queue_url: …")
    return written, list(_repeated(path, node, set()))


def _refused(path: str, message: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(path, message, remedy)])


def _syntax(path: Path, error: Exception) -> Problem:
    """Where the file stops being YAML, by line and column, and why."""
    remedy = "correct the line, or the one before it"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem(str(path), f"it is no YAML: {error}", remedy)
    mark = error.problem_mark
    if "'\\t'" in (error.problem or ""):
        remedy = "indent with spaces instead of tabs"
    return Problem(f"{path}:{mark.line + 1}:{mark.column + 1}", f"it is no YAML: {error.problem}", remedy)


def _repeated(path: Path, node: yaml.Node | None, seen: set[int]) -> Iterator[Problem]:
    """A problem for each key that stands twice in one mapping, of which YAML would silently keep the last."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(path, item, seen)
    elif isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            name, mark = str(key.value), key.start_mark
            if name in keys:
                where = f"{path}:{mark.line + 1}:{mark.column + 1}"
                yield Problem(where, f"{name} stands twice in the same mapping", "keep one of the two")
            keys.add(name)
            yield from _repeated(path, value, seen)


def overlay(written: dict[str, object], environ: Mapping[str, str]) -> tuple[dict[str, str], list[Problem]]:
    """Puts the environment's values over the file's, in `written` itself; an empty variable counts as not set.

    Returns which variable set which path, and a problem for each variable that could set nothing.
    """
    origins: dict[str, str] = {}
    problems: list[Problem] = []
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in NO_SETTINGS or not text or _is_service_link(name, text):
            continue
        steps = name.removeprefix(PREFIX).lower().split("__")
        if field_at(ServiceSettings, steps) is None or (steps[0] == _LIST and steps[1:]):
            problems.append(Problem(name, "no setting has this name", _suggestion(steps)))
            continue
        try:
            _put(written, steps, _value(text))
        except json.JSONDecodeError as error:
            problems.append(Problem(name, f"it is no JSON: {error}", "check its brackets and double quotes"))
            continue
        origins[".".join(steps)] = name
    return origins, problems


def _is_service_link(name: str, text: str) -> bool:
    """Kubernetes sets it, in every pod beside a Service whose name begins with headsaw."""
    return _SERVICE_LINK.fullmatch(name) is not None or (name.endswith("_PORT") and text.startswith(("tcp:", "udp:")))


def _suggestion(steps: list[str]) -> str:
    """The variable that is spelled most alike, or how to set what stands in a list."""
    if steps[0] == _LIST:
        return f"set the whole list, as JSON, with {PREFIX}{_LIST.upper()}"
    names = [path.upper().replace(".", "__") for path in key_paths(ServiceSettings) if not path.startswith(f"{_LIST}.")]
    return closest("__".join(steps), names, PREFIX) or "headsaw config schema lists the settings"


def _value(text: str) -> object:
    """A list or mapping from JSON; anything else stays text, which each setting reads in its own way."""
    return json.loads(text) if text.lstrip().startswith(("[", "{")) else text


def _put(written: dict[str, object], steps: list[str], value: object) -> None:
    """Sets a nested key; what stands in its way and is no mapping is left for validation to refuse."""
    *outer, last = steps
    for step in outer:
        inner = written.get(step)
        if inner is None:
            inner = written[step] = {}
        if not isinstance(inner, dict):
            return
        written = inner
    written[last] = value


def _with_origin(problem: Problem, origins: Mapping[str, str]) -> Problem:
    """Names the variable that set the value, if one did."""
    for path, variable in origins.items():
        if problem.path == path or problem.path.startswith((f"{path}.", f"{path}[")):
            return replace(problem, message=f"{problem.message}; set by {variable}")
    return problem
