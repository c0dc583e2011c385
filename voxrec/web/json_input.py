"""Decoding of JSON that clients send, with a bound on the work that it causes.

The reactor decodes and validates a body in one step, during which no call is served. A body of 1 MiB that consists of
empty arrays takes 400 ms to decode; therefore the number of its values is bounded before it is decoded.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError
from voxrec.web.errors import BadRequest, TooLarge

MAX_VALUES: Final = 20_000
"""Values and keys in a body. The largest valid resource has about 10,000."""
MAX_DEPTH: Final = 100
"""Levels of arrays and objects in a body, including the body itself."""
_MAX_DIGITS: Final = 1000  # consecutive digits: the time to parse an integer is quadratic in their number
_MAX_PATH: Final = 1000  # characters of the path of a key
_UNCHECKED_SIZE: Final = 16_384  # bytes; a smaller text is parsed quickly, whatever it contains
_SEPARATORS: Final = b",:[{"  # each value and each key has one before it, except the first
_DIGITS: Final = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else ord(" ") for byte in range(256))


def decode_json(text: bytes) -> Any:
    """Decode JSON text. Raises BadRequest if it is invalid, TooLarge if it has too many values or digits.

    Depth is only limited to what the decoder supports; see `depth_errors`.
    """
    if len(text) > _UNCHECKED_SIZE:
        # an upper limit, because strings may contain these characters too
        if sum(text.count(bytes([separator])) for separator in _SEPARATORS) > MAX_VALUES:
            raise TooLarge(f"The body has too many values; at most {MAX_VALUES} are allowed.")
        if b"0" * _MAX_DIGITS in text.translate(_DIGITS):
            raise TooLarge(f"The body has a number that is too long; at most {_MAX_DIGITS} digits are allowed.")
    if not text.strip():
        raise BadRequest("The body is empty; it must be a JSON text.")
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise _nested_too_deeply() from error


def duplicate_key_errors(text: bytes) -> list[FieldError]:
    """Return an error for each key that an object of valid JSON text has several times (RFC 8259 section 4).

    Decoders disagree about which of its values counts, so that the client may not get what it asks for. The field is
    the path of the key, such as ``metadata.customers[0].id``. Raises BadRequest if the text is nested too deeply.
    """
    if not _has_duplicate_key(text):  # nearly always, and cheaper to find out than the paths
        return []
    return [
        FieldError(path, "duplicate key", FieldErrorCode.DUPLICATE, {"value": key})
        for path, key in dict.fromkeys(_duplicate_keys(_loads(text, _Object)))
    ]


class _Object(list[tuple[str, Any]]):
    """The keys and values of a JSON object, in which a key may occur several times."""


def _has_duplicate_key(text: bytes) -> bool:
    found = False

    def check(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or (len(pairs) > 1 and len(dict(pairs)) < len(pairs))

    _loads(text, check)
    return found


def _duplicate_keys(document: object) -> Iterator[tuple[str, str]]:
    """Return the paths and the names of duplicate keys: those of an object before those of the values in it."""
    pending = [("", document)]
    while pending:
        path, value = pending.pop()
        members: list[tuple[str, Any]] = []
        if isinstance(value, _Object):
            members = [(_join(path, key), member) for key, member in value]
            seen: set[str] = set()
            for (key, _), (member_path, _) in zip(value, members, strict=True):
                if key in seen:
                    yield member_path, key
                seen.add(key)
        elif isinstance(value, list):
            members = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
        pending += reversed([member for member in members if isinstance(member[1], list)])


def _join(path: str, key: str) -> str:
    """Return the path of a key, cut off: many values below a long key must not cost its length each."""
    return f"{path}.{key[:_MAX_PATH]}"[:_MAX_PATH] if path else key[:_MAX_PATH]


def _loads(text: bytes, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any]) -> Any:
    try:
        # numbers stay text, because converting them takes time
        return json.loads(text, object_pairs_hook=object_pairs_hook, parse_int=str, parse_float=str)
    except RecursionError as error:  # `decode_json` has fewer functions below it, so its limit is a little higher
        raise _nested_too_deeply() from error


def _nested_too_deeply() -> BadRequest:
    return BadRequest(f"The body is nested too deeply; at most {MAX_DEPTH} levels are allowed.")


def depth_errors(document: dict[str, Any]) -> list[FieldError]:
    """Return an error for each key whose value is nested too deeply for encoders, which are recursive."""
    return [
        FieldError(
            key,
            f"is nested too deeply; at most {MAX_DEPTH} levels are allowed",
            FieldErrorCode.TOO_DEEP,
            {"maximum": MAX_DEPTH},
        )
        for key, value in document.items()
        if isinstance(value, list | dict) and not is_shallow(value, MAX_DEPTH - 1)
    ]


def is_shallow(value: object, max_depth: int) -> bool:
    """Return whether a decoded value has at most ``max_depth`` levels of arrays and objects."""
    level = [value]
    for _ in range(max_depth + 1):
        containers = [item for item in level if isinstance(item, list | dict)]
        if not containers:
            return True
        level = [
            item
            for container in containers
            for item in (container.values() if isinstance(container, dict) else container)
        ]
    return False


def has_nul(value: object) -> bool:
    """Return whether a text or a key in a decoded value has the character U+0000."""
    match value:
        case str():
            return "\0" in value
        case list():
            return any(map(has_nul, value))
        case dict():
            return any(map(has_nul, [*value, *value.values()]))
        case _:
            return False
