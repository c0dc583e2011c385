"""Why a sign-in at an identity provider fails."""

import enum


class Reason(enum.StrEnum):
    """The reason that users see; the detail is for the audit log and the log.

    - ``unavailable``: the provider does not respond, or responds with an error of its own
    - ``invalid-answer``: the provider's answer cannot be trusted, or is not OpenID Connect
    - ``declined``: the user or the provider declined
    - ``expired``: the response was used before, is too late, or belongs to another browser
    - ``no-role``: none of the user's claims gives a role or a Profile
    - ``name``: the name of the user cannot be used
    - ``disabled``: an administrator has disabled the user
    """

    UNAVAILABLE = "unavailable"
    INVALID_ANSWER = "invalid-answer"
    DECLINED = "declined"
    EXPIRED = "expired"
    NO_ROLE = "no-role"
    NAME = "name"
    DISABLED = "disabled"


class ProviderSignInError(Exception):
    """A sign-in at the provider has failed. ``user`` is the name of the user, if it is known."""

    def __init__(self, reason: Reason, detail: str, user: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.user = user
