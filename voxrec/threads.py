"""The type of the function that runs blocking code in a thread; the composition root chooses the thread pool."""

from collections.abc import Awaitable, Callable
from typing import Any

DeferToThread = Callable[..., Awaitable[Any]]
"""Has the signature of ``twisted.internet.threads.deferToThread``: the function to run, then its arguments."""
