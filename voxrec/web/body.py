"""Request bodies: what a route accepts, and how it becomes the validated value that its handler receives."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cache
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct

from voxrec.conversion import convert_fields
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError, InvalidInput
from voxrec.web.errors import UnsupportedMedia
from voxrec.web.json_input import decode_json, depth_errors, duplicate_key_errors, has_nul
from voxrec.web.partial_update import PartialUpdate, Validator, require_no_errors
from voxrec.web.request import Request, Upload
from voxrec.web.response import JSON

S = TypeVar("S", bound=Struct)

ValueValidator = Callable[[Request, Mapping[str, Any]], Awaitable[Iterable[FieldError]]]
"""Returns the errors of the values in a request (by attribute), whose types are valid. May query the database."""

OCTET_STREAM: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class BodySchema:
    """What the OpenAPI document says about a JSON body: the keys of ``model`` without those in ``excluded``.

    ``properties`` adds JSON Schema keywords to single keys, ``keywords`` to the object, such as "if" and "then".
    """

    model: type[Struct]
    excluded: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    properties: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    keywords: Mapping[str, Any] = field(default_factory=dict)


class JsonRequestBody(Protocol):
    """A request body that is a JSON object."""

    @property
    def schema(self) -> BodySchema:
        """The JSON Schema of the body."""

    async def bind(self, request: Request) -> Any:
        """Return the value that the handler receives as ``request.body``.

        Raises BadRequest, UnsupportedMedia or InvalidInput.
        """


@dataclass(frozen=True, slots=True)
class JsonBody(Generic[S]):
    """A JSON object that is a complete ``model``; the handler receives the instance.

    - ``read_only``: keys that voxrec sets and a client must not send;
    - ``required``: keys that a client must send;
    - ``secret``: keys whose values no error message repeats;
    - ``path_keys``: keys that default to the path parameter of the same name;
    - ``initial_values``: returns attributes that the client's values replace, such as a new id;
    - ``value_validators`` receive the client's values by attribute, ``validators`` the instance and these values. All
      run before an error is raised, so that the response lists every error. Without an attribute that has no default,
      there is no instance, and ``validators`` are not called.
    """

    model: type[S]
    _: KW_ONLY
    read_only: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    secret: frozenset[str] = frozenset()
    path_keys: frozenset[str] = frozenset()
    initial_values: Callable[[], Mapping[str, Any]] = dict
    value_validators: Sequence[ValueValidator] = ()
    validators: Sequence[Validator[S]] = ()
    properties: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    keywords: Mapping[str, Any] = field(default_factory=dict)

    @property
    def schema(self) -> BodySchema:
        """The JSON Schema of the body."""
        return BodySchema(self.model, self.read_only, self.required, self.properties, self.keywords)

    async def bind(self, request: Request) -> S:
        """Return the instance. Raises InvalidInput with every error."""
        document = {**{key: str(request.ids[key]) for key in self.path_keys}, **decode_json_object(request)}
        values, field_errors = convert_fields(self.model, document, read_only=self.read_only, secret=self.secret)
        field_errors += _missing_errors(self.required - document.keys())
        for value_validator in self.value_validators:
            field_errors += await value_validator(request, values)
        attributes = {**self.initial_values(), **values}
        if _required_attributes(self.model) <= attributes.keys():
            instance = self.model(**attributes)
            for validator in self.validators:
                field_errors += validator(instance, values)
        require_no_errors(field_errors)
        return self.model(**attributes)


@dataclass(frozen=True, slots=True)
class PartialUpdateBody(Generic[S]):
    """A JSON object with the fields of ``model`` to change; the handler receives a `PartialUpdate`.

    ``read_only`` are keys of which a client may only repeat the current value, ``required`` those that it must send.
    Errors are raised by `PartialUpdate.apply`, not earlier: whether the resource exists and whether If-Match holds is
    checked first.
    """

    model: type[S]
    _: KW_ONLY
    read_only: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    value_validators: Sequence[ValueValidator] = ()
    validators: Sequence[Validator[S]] = ()
    properties: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def schema(self) -> BodySchema:
        """The JSON Schema of the body."""
        return BodySchema(self.model, self.read_only, self.required, self.properties)

    async def bind(self, request: Request) -> PartialUpdate[S]:
        """Return the update, which knows its errors."""
        return await self.bind_object(request, decode_json_object(request))

    async def bind_object(self, request: Request, document: Mapping[str, Any]) -> PartialUpdate[S]:
        """Return the update that a decoded ``document`` describes."""
        changes = {key: value for key, value in document.items() if key not in self.read_only}
        values, field_errors = convert_fields(self.model, changes, read_only=self.read_only)
        value_errors = _missing_errors(self.required - document.keys())
        for value_validator in self.value_validators:
            value_errors += await value_validator(request, values)
        return PartialUpdate(
            values=values,
            conversion_errors=tuple(field_errors),
            read_only={key: value for key, value in document.items() if key in self.read_only},
            value_errors=tuple(value_errors),
            validators=tuple(self.validators),
        )


@dataclass(frozen=True, slots=True)
class FileBody:
    """A file of at most ``max_size`` bytes; the handler receives the `Upload`.

    ``media_types`` may end in "/*". A request without Content-Type counts as application/octet-stream.
    """

    media_types: tuple[str, ...]
    max_size: int

    async def bind(self, request: Request) -> Upload:
        """Return the upload. Raises UnsupportedMedia."""
        media_type = request.headers.get("content-type", OCTET_STREAM).partition(";")[0].strip().lower()
        type_, slash, _ = media_type.partition("/")
        if media_type not in self.media_types and f"{type_}{slash}*" not in self.media_types:
            allowed = ", ".join(self.media_types)
            raise UnsupportedMedia(f"Content-Type must be one of {allowed}.", {"Accept": allowed})
        _require_uncompressed(request)
        if request.upload is None:
            raise TypeError("the site has not stored the body of this route in a file")
        return request.upload


def decode_json_object(request: Request) -> dict[str, Any]:
    """Return the body as a JSON object.

    Raises UnsupportedMedia if Content-Type is not JSON, BadRequest if the body cannot be parsed or has too many values,
    InvalidInput if it is another JSON type, is nested too deeply, has a key twice, or contains U+0000, which PostgreSQL
    cannot store.
    """
    media_type, *parameters = (part.strip().lower() for part in request.headers.get("content-type", "").split(";"))
    if media_type != JSON or not {part.replace('"', "") for part in parameters if part} <= {"charset=utf-8"}:
        raise UnsupportedMedia(f"Content-Type must be {JSON}.", {"Accept": JSON})
    _require_uncompressed(request)
    document = decode_json(request.raw_body)
    if not isinstance(document, dict):
        raise InvalidInput(f"The body must be a JSON object, not of type {_json_type(document)}.")
    require_no_errors(depth_errors(document))  # the search for U+0000 is recursive
    require_no_errors(duplicate_key_errors(request.raw_body) + _nul_errors(document, request.raw_body))
    return document


def _nul_errors(document: Mapping[str, Any], text: bytes) -> list[FieldError]:
    if b"\\u0000" not in text:  # U+0000 cannot occur in JSON text unless escaped
        return []
    return [
        FieldError(key, "must not contain the character U+0000", FieldErrorCode.NUL_CHARACTER)
        for key, value in document.items()
        if has_nul([key, value])
    ]


def _missing_errors(keys: Iterable[str]) -> list[FieldError]:
    return [FieldError(key, "is required", FieldErrorCode.REQUIRED) for key in sorted(keys)]


@cache
def _required_attributes(model: type[Struct]) -> frozenset[str]:
    return frozenset(field.name for field in msgspec.structs.fields(model) if field.required)


def _require_uncompressed(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("The body must not be compressed.", {"Accept-Encoding": "identity"})


def _json_type(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
