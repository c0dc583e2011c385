"""The methods of HTTP."""

from typing import Final

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that do not change anything (RFC 9110 section 9.2.1); TRACE is not supported."""
