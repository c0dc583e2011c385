"""Query parameters: the declaration of one, and the parser of a query string that validates all of them."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar
from urllib.parse import parse_qsl

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError, InvalidInput, InvalidValue
from voxrec.web.errors import BadRequest

MAX_PARAMETERS: Final = 100

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class QueryParameter(Generic[T_co]):
    """A query parameter.

    ``parse`` returns the value of a text, or raises `InvalidValue`.
    ``description`` and ``schema`` (JSON Schema) are for the OpenAPI document.
    """

    parse: Callable[[str], T_co]
    description: str
    schema: Mapping[str, Any]

    def __call__(self, text: str) -> T_co:
        """Parse ``text``."""
        return self.parse(text)

    def described_as(self, description: str) -> "QueryParameter[T_co]":
        """Return the same parameter with another description."""
        return replace(self, description=description)


QueryParameters = Mapping[str, QueryParameter[Any]]


def query_parameter(**schema: Any) -> Callable[[Callable[[str], T_co]], QueryParameter[T_co]]:
    """Decorate a parser: make it a `QueryParameter` with this JSON Schema; its docstring is the description."""

    def decorate(parse: Callable[[str], T_co]) -> QueryParameter[T_co]:
        return QueryParameter(parse, parse.__doc__ or "", schema)

    return decorate


def query_items(raw_query: bytes) -> list[tuple[str, str]]:
    """Return the decoded names and values in order. Raises BadRequest if they are not UTF-8 or too many."""
    if not raw_query:
        return []
    try:
        return parse_qsl(
            raw_query.decode("utf-8"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except UnicodeDecodeError as error:
        raise BadRequest("The query is not percent-encoded UTF-8.") from error
    except ValueError as error:
        raise BadRequest(f"The query has more than {MAX_PARAMETERS} parameters.") from error


def parse_query(items: list[tuple[str, str]], parameters: QueryParameters) -> dict[str, Any]:
    """Return the parsed values by name.

    Raises InvalidInput with an error for each parameter that is unknown, duplicate or invalid.
    """
    values: dict[str, Any] = {}
    field_errors: list[FieldError] = []
    counts = Counter(name for name, _ in items)
    for name, text in dict(items).items():
        if name not in parameters:
            expected = f"one of {', '.join(sorted(parameters))}" if parameters else "no parameters"
            params = {"allowed": sorted(parameters)}
            message = f"unknown parameter; expected {expected}"
            field_errors.append(FieldError(name, message, FieldErrorCode.UNKNOWN_FIELD, params))
        elif counts[name] > 1:
            field_errors.append(FieldError(name, "duplicate parameter", FieldErrorCode.DUPLICATE, {"value": name}))
        else:
            try:
                values[name] = parameters[name].parse(text)
            except ValueError as error:
                invalid = error if isinstance(error, InvalidValue) else InvalidValue(str(error), FieldErrorCode.INVALID)
                field_errors.append(FieldError.of(name, invalid))
    if field_errors:
        raise InvalidInput("The query has invalid parameters.", field_errors)
    return values
