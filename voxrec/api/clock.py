"""The type of the function from which handlers get the current time."""

from collections.abc import Callable
from datetime import datetime

UtcNow = Callable[[], datetime]
"""Returns the current time in UTC, such as ``partial(voxrec.clock.utc_now, clock)``."""
