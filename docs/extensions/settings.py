"""The settings reference: descriptions and defaults from etc/voxrec.yaml, allowed values from voxrec.config."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import inspect

from voxrec.config import Config

_SECTION: Final = re.compile(r"([a-z][a-z0-9_]*):")
_SETTING: Final = re.compile(r"( *)(# )?([a-z_]+): (.*)")
_COMMENT: Final = re.compile(r" *# ?(.*)")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting; ``section`` is empty at the top level, ``description`` where the file has none of its own."""

    section: str
    name: str
    default: str
    description: str

    @property
    def path(self) -> str:
        """The name with the section's."""
        return f"{self.section}.{self.name}" if self.section else self.name


def settings_in(file: Path) -> list[Setting]:
    """Return the settings that a documented settings file has, in its order.

    The comment lines right above a setting are its description. A setting that is commented out, as ``password_file``
    is, counts if voxrec.config has it.
    """
    known = allowed_values()
    found: list[Setting] = []
    section, comment = "", list[str]()
    for line in file.read_text(encoding="utf-8").splitlines():
        setting = _SETTING.fullmatch(line)
        path = "" if setting is None else f"{section if setting[1] else ''}.{setting[3]}".lstrip(".")
        if setting is not None and path in known:
            default = "" if setting[2] else setting[4]
            found.append(Setting(section if setting[1] else "", setting[3], default, " ".join(comment)))
            comment = []
        elif header := _SECTION.fullmatch(line):
            section, comment = header[1], []
        elif text := _COMMENT.fullmatch(line):
            comment.append(text[1])
        else:
            comment = []
    return found


def allowed_values() -> dict[str, str]:
    """Return what each setting may be, in words, by its path."""
    return dict(_allowed_in(Config, ""))


def _allowed_in(section: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, str]]:
    for setting in msgspec.structs.fields(section):
        if isinstance(setting.type, type) and issubclass(setting.type, msgspec.Struct):
            yield from _allowed_in(setting.type, f"{setting.name}.")
        else:
            yield prefix + setting.name, _in_words(inspect.type_info(setting.type))


def _in_words(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata(type=inner):
            return _in_words(inner)
        case inspect.BoolType():
            return "`true` or `false`"
        case inspect.LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in values)
        case inspect.IntType():
            return _range("a whole number", kind)
        case inspect.FloatType():
            return _range("a number", kind)
        case inspect.VarTupleType():
            return "a list"
        case _:
            return "text"


def _range(noun: str, kind: Any) -> str:
    lowest = f"from {kind.ge}" if kind.ge is not None else f"above {kind.gt}" if kind.gt is not None else ""
    highest = f"up to {kind.le}" if kind.le is not None else ""
    return " ".join(filter(None, (noun, lowest, highest)))


def settings_page(file: Path) -> str:
    """Return the reference as Markdown, with a heading for each section and setting."""
    allowed = allowed_values()
    lines: list[str] = []
    section = None
    for setting in settings_in(file):
        if setting.section != section:
            section = setting.section
            lines += [f"## {section or 'Top level'}", ""]
        default = setting.default if setting.default not in ("", '""') else ""
        lines += [f"### {setting.path}", "", setting.description or "See the setting before it.", ""]
        lines += [f"Allowed: {allowed[setting.path]}. Default: {f'`{default}`' if default else 'empty'}.", ""]
    return "\n".join(lines)
