"""Subtests for trial, which does not support `unittest.TestCase.subTest`."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def subtest(name: object) -> Iterator[None]:
    """Prefix the message of a failed assertion with the name of the row of the test table."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from error
