"""The result of a check."""

from collections.abc import Callable, Iterator
from enum import Enum

from msgspec import Struct


class Status(Enum):
    """The outcome of a check. Only ``FAILED`` prevents voxrec from working."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(Struct, frozen=True):
    """What a check found, in one line, and the remedy if the condition is not met."""

    check: str
    status: Status
    detail: str
    remedy: str = ""


def ok(check: str, detail: str) -> Finding:
    """The condition is met."""
    return Finding(check, Status.OK, detail)


def failed(check: str, detail: str, remedy: str) -> Finding:
    """The condition is not met."""
    return Finding(check, Status.FAILED, detail, remedy)


def warning(check: str, detail: str, remedy: str) -> Finding:
    """voxrec works, but something should be corrected."""
    return Finding(check, Status.WARNING, detail, remedy)


def skipped(check: str, detail: str) -> Finding:
    """The condition could not be examined."""
    return Finding(check, Status.SKIPPED, detail)


def guarded(check: str, findings: Callable[[], Iterator[Finding]], remedy: str) -> Iterator[Finding]:
    """Yield the findings, and an unexpected error of the operating system or a library as one that failed."""
    try:
        yield from findings()
    except Exception as error:
        yield failed(check, " ".join(f"{type(error).__name__}: {error}".split()), remedy)
