"""Hashing and verification of passwords with Argon2id (RFC 9106), in a thread, since each takes about 50 ms."""

import secrets
from base64 import b64encode
from typing import Final
from unicodedata import normalize

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.low_level import ARGON2_VERSION

from voxrec.threads import DeferToThread

_HASHER: Final = PasswordHasher()  # the second recommended option of RFC 9106 section 4: 64 MiB


def _hash_of_no_password(hasher: PasswordHasher) -> str:
    """Return a hash that no known password has, and that takes as long to verify as one made by ``hasher``.

    It is random, and not computed, so that the start of the daemon does not wait for it.
    """
    salt, hashed = (
        b64encode(secrets.token_bytes(length)).decode().rstrip("=") for length in (hasher.salt_len, hasher.hash_len)
    )
    parameters = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${parameters}${salt}${hashed}"


_NO_HASH: Final = _hash_of_no_password(_HASHER)


def hash_password(password: str) -> str:
    """Return the hash of a new password, with its parameters and a salt."""
    return _HASHER.hash(_normalized(password))


class Passwords:
    """Hashes and verifies passwords.

    ``defer_to_thread`` runs few at a time, so that attempts to sign in occupy neither the processors nor the memory.
    """

    def __init__(self, defer_to_thread: DeferToThread) -> None:
        self._defer_to_thread = defer_to_thread

    async def hash(self, password: str) -> str:
        """Return the hash of a new password, with its parameters and a salt."""
        hashed: str = await self._defer_to_thread(hash_password, password)
        return hashed

    async def matches(self, password: str, hashed: str | None) -> bool:
        """Return whether a password has this hash. None, for an unknown user, takes the same time and never matches."""
        verified: bool = await self._defer_to_thread(_verify, password, _NO_HASH if hashed is None else hashed)
        return verified and hashed is not None


def _normalized(password: str) -> str:
    """Return a password in composed form (NFC, RFC 8265 section 4.2): not all keyboards compose letters."""
    return normalize("NFC", password)


def _verify(password: str, hashed: str) -> bool:
    # earlier versions hashed passwords as they were entered
    return any(_matches(entered, hashed) for entered in dict.fromkeys((_normalized(password), password)))


def _matches(password: str, hashed: str) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except (Argon2Error, InvalidHashError):
        return False
