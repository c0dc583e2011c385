"""The form of a Profile: its fields follow from the JSON Schema of the model, its texts from the user's language."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from voxrec.audio.formats import FORMATS
from voxrec.languages import Language
from voxrec.model import Profile

READ_ONLY: Final = frozenset({"id", "createdAt", "updatedAt"})
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "calls": ("name", "numbers", "remoteSipUri", "ringTimeoutSeconds", "maxCallSeconds", "maxCalls"),
    "recording": (
        *("record", "recordFormat", "recordChannels", "minDurationSeconds", "maxDurationSeconds"),
        *("recordPauseCode", "recordResumeCode"),
    ),
    "announcement": (
        *("recordPrompt", "recordPromptCustomId", "recordPromptRequired", "recordPromptOnTransfer", "language"),
        *("recordBeepAtStart", "recordBeepInterval", "recordBeepInRecording"),
    ),
    "mail": ("email", "mailContent", "mailEncryption", "mailTemplate", "timeZone"),
    "storage": ("retentionDays", "archiveBucket", "archivePrefix"),
    "integration": ("webhookUrl", "metadata"),
}
"""The fields of each part of the form, in the order in which it shows them."""
_CONTROLS: Final = {"boolean": "checkbox", "integer": "number", "array": "lines", "object": "json"}
_ATTRIBUTES: Final = {"maxLength": "maxlength", "minimum": "min", "maximum": "max"}
_MAX_DIGITS: Final = 15
_MAX_LISTED: Final = 10  # numbers in a table


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of the form.

    - ``name``: that of the field in JSON, and of the control
    - ``control``: ``checkbox``, ``select``, ``number``, ``text``, ``lines`` (one item a line) or ``json``
    - ``default``: the value of a new Profile
    - ``nullable``: an empty control stands for null
    - ``options``: the values of a ``select``; empty if they depend on what is stored
    - ``attributes``: attributes of the control in HTML
    """

    name: str
    control: str
    default: Any
    nullable: bool
    options: tuple[str, ...]
    attributes: Mapping[str, object]

    def to_text(self, value: Any) -> str:
        """Return what the control shows for a value."""
        match value:
            case None | False:
                return ""
            case True:
                return "true"
            case list():
                return "\n".join(value)
            case dict():
                return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() if value else ""
        return str(value)

    def to_value(self, entered: str) -> Any:
        """Return the value for JSON. What is not of the right type remains text, which the REST API refuses."""
        if self.control == "checkbox":
            return entered == "true"
        if self.control == "lines":
            lines = entered.replace(",", "\n").splitlines()
            return [number for line in lines if (number := "".join(line.split()))]
        text = entered.strip()
        if self.control == "json":
            return _json(text)
        if not text and self.nullable:
            return None
        digits = text.removeprefix("-")
        is_number = self.control == "number" and digits.isascii() and digits.isdecimal() and len(digits) <= _MAX_DIGITS
        return int(text) if is_number else text


def _json(text: str) -> Any:
    """Return the JSON unchanged, so that the REST API finds what is wrong with it, such as a duplicate key."""
    if not text:
        return {}
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return msgspec.Raw(text.encode())


def _form_fields() -> dict[str, FormField]:
    schema = msgspec.json.schema(Profile)
    definitions = msgspec.json.decode(msgspec.json.encode(schema))["$defs"]  # its defaults are values of JSON then
    properties: Mapping[str, Any] = definitions["Profile"]["properties"]
    return {
        name: _form_field(name, schema, definitions) for name, schema in properties.items() if name not in READ_ONLY
    }


def _form_field(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> FormField:
    alternatives = schema.get("anyOf", [schema])
    value_schema = next(each for each in alternatives if each.get("type") != "null")
    nullable = len(alternatives) > 1
    reference = value_schema.get("$ref", "").rpartition("/")[2]
    options = tuple(definitions[reference]["enum"]) if reference else ()
    if name == "recordFormat":
        options = tuple(FORMATS)
    is_select = options or value_schema.get("format") == "uuid"
    control = "select" if is_select else _CONTROLS.get(value_schema.get("type"), "text")
    attributes = {html: value_schema[key] for key, html in _ATTRIBUTES.items() if key in value_schema}
    item_schema = value_schema.get("items", value_schema)
    if control in ("text", "lines") and (examples := item_schema.get("examples")):
        attributes["placeholder"] = examples[0]
    if control in ("text", "number") and not nullable:
        attributes["required"] = True
    return FormField(name, control, schema.get("default"), nullable, options, attributes)


FIELDS: Final[Mapping[str, FormField]] = _form_fields()
DEFAULTS: Final[Mapping[str, Any]] = {field.name: field.default for field in FIELDS.values()}


def texts_of(profile: Mapping[str, Any]) -> dict[str, str]:
    """Return what the controls show for the values of a Profile."""
    return {field.name: field.to_text(profile[field.name]) for field in FIELDS.values()}


def entered_texts(form: Mapping[str, str]) -> dict[str, str]:
    """Return what a user has entered, without those of the fields that the form lacks, except for checkboxes."""
    return {
        field.name: form.get(field.name, "").replace("\r\n", "\n")
        for field in FIELDS.values()
        if field.name in form or field.control == "checkbox"
    }


def changes(entered: Mapping[str, str], profile: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the fields in which the entered texts differ from a Profile.

    The REST API does not validate the other fields, so that a Profile stored under other settings can still be changed.
    """
    shown = texts_of(profile)
    return {name: FIELDS[name].to_value(text) for name, text in entered.items() if text != shown[name]}


def display(language: Language, name: str, value: Any) -> str:
    """Return the value of a setting in words."""
    match value:
        case None | "":
            return language.text("none")
        case list() | dict() if not value:
            return language.text("none")
        case bool():
            return language.text("yes" if value else "no")
        case list():
            more = language.text("and_more", count=len(value) - _MAX_LISTED) if len(value) > _MAX_LISTED else ""
            return ", ".join(map(str, value[:_MAX_LISTED])) + more
        case dict():
            return msgspec.json.encode(value).decode()
        case float() if value.is_integer():
            return str(int(value))
        case float():
            return str(value).replace(".", language.text("decimal_separator"))
    return str(language.texts.get(f"value_{name}_{value}", value))
