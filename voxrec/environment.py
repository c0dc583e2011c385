"""Settings from environment variables, VOXREC__SECTION__SETTING, which have precedence over the settings file.

Containers are configured this way. The prefix with two underscores keeps apart what else begins with VOXREC, such as
the variables that Docker and Kubernetes set for a service of that name (VOXREC_PORT).
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import yaml

from voxrec.errors import FieldError

PREFIX: Final = "VOXREC__"
_SEPARATOR: Final = "__"


def override_settings(
    document: Mapping[Any, Any], variables: Mapping[str, str], settings: type[msgspec.Struct]
) -> tuple[dict[Any, Any], list[FieldError]]:
    """Return ``document``, the settings file, with the values of the variables, and an error for each unknown variable.

    ``settings`` is the struct of all settings; a setting is one of its fields or a field of one of its sections. The
    value of a setting of type string is the text as it is, that of all others is YAML: ``VOXREC__MAIL__PORT=587``,
    ``VOXREC__CALLS__ALLOWED_HOSTS=[pbx.example, 192.0.2.0/24]``. An empty variable is ignored, because compose files
    cannot leave one out.

    A variable for a secret also replaces its file (``password``, ``password_file``), and the other way round.
    """
    types = _types_by_variable(settings)
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in document.items()}
    errors: list[FieldError] = []
    for variable, text in sorted(variables.items()):
        if not variable.startswith(PREFIX) or not text:
            continue
        if variable not in types:
            errors.append(FieldError(variable, _unknown(variable, types)))
            continue
        try:
            value = text if _is_text(types[variable]) else yaml.safe_load(text)
        except yaml.YAMLError:
            value = text  # the conversion to the setting's type reports it
        *section, name = variable.removeprefix(PREFIX).lower().split(_SEPARATOR)
        values = _section(result, section)
        values[name] = value
        if not variables.get(_counterpart(variable, "_FILE")):
            values.pop(_counterpart(name, "_file"), None)
    return result, errors


def _section(document: dict[Any, Any], path: list[str]) -> dict[Any, Any]:
    """Return a section of the document, and add it if it is missing. An invalid section is left to the conversion."""
    values = document
    for key in path:
        if values.get(key) is None:
            values[key] = {}
        if not isinstance(values[key], dict):
            return {}
        values = values[key]
    return values


def _counterpart(name: str, suffix: str) -> str:
    return name.removesuffix(suffix) if name.endswith(suffix) else f"{name}{suffix}"


def _types_by_variable(struct: type[msgspec.Struct], prefix: str = PREFIX) -> dict[str, Any]:
    """Return the type of each setting by the name of its variable."""
    types: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        name = f"{prefix}{field.name.upper()}"
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            types.update(_types_by_variable(field.type, f"{name}{_SEPARATOR}"))
        else:
            types[name] = field.type
    return types


def _is_text(type_: Any) -> bool:
    info = msgspec.inspect.type_info(type_)
    if isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    if isinstance(info, msgspec.inspect.CustomType):
        return issubclass(info.cls, str)
    if isinstance(info, msgspec.inspect.LiteralType):
        return all(isinstance(value, str) for value in info.values)
    return isinstance(info, msgspec.inspect.StrType)


def _unknown(variable: str, types: Mapping[str, Any]) -> str:
    section = variable.rpartition(_SEPARATOR)[0] + _SEPARATOR
    expected = sorted(name for name in types if name.startswith(section)) if section != PREFIX else []
    return f"unknown setting; expected {'one of ' + ', '.join(expected) if expected else f'{PREFIX}SECTION__SETTING'}"
