"""The identity of whoever makes requests: a token or a user."""

from uuid import UUID


def principal_key(token_id: UUID | None, user_id: UUID | None, name: str) -> UUID | str:
    """Return what distinguishes a token or a user from others, also from later ones of the same name.

    It is the name only for the token of the settings, which has no id.
    """
    return token_id or user_id or name
