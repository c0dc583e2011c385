"""What may block runs in a thread; which one is settled where everything is wired."""

from collections.abc import Awaitable, Callable
from typing import Any

DeferToThread = Callable[..., Awaitable[Any]]
"""``twisted.internet.threads.deferToThread``, or what a test puts in its place: runs a function with its arguments."""
