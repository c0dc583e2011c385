"""/profiles/<id>/test, /effective and /recipients: whether the calls and mails of a Profile would work, and how."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final
from uuid import UUID

from twisted.internet.interfaces import IReactorTime

from voxrec.model import EffectiveProfile, MailRecipient, Profile, ProfileCheckResult
from voxrec.store.profiles import Profiles
from voxrec.web.auth import Role, Scoped
from voxrec.web.concurrency import ConcurrencyLimit
from voxrec.web.rate_limit import RateLimit
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response
from voxrec.web.route import Route

CheckProfile = Callable[[Profile], Awaitable[ProfileCheckResult]]
"""Tests a Profile; see `voxrec.profile_check.runner.ProfileChecker`."""
EffectiveSettings = Callable[[Profile], EffectiveProfile]
"""Returns the settings that apply to the next call of a Profile."""
MailRecipients = Callable[[Profile, Callable[[UUID | None], bool]], Awaitable[Sequence[MailRecipient]]]
"""Returns what happens to the mails to each recipient; see `voxrec.profile_check.encryption.EncryptionCheck`."""

_TESTS: Final = 20  # of a token
_TEST_PERIOD: Final = 60.0  # seconds
_CONCURRENT_TESTS: Final = 2  # of a token: a test sends requests to far ends, relays and receivers


class ProfileCheckRoutes:
    """The test of a Profile, its effective settings, and the recipients of its mails."""

    def __init__(
        self,
        clock: IReactorTime,
        profiles: Scoped[Profiles],
        check: CheckProfile,
        effective: EffectiveSettings,
        recipients: MailRecipients,
    ) -> None:
        self._profiles = profiles
        self._check = check
        self._effective = effective
        self._recipients = recipients
        self._rate = RateLimit(clock, _TESTS, _TEST_PERIOD, "tests of profiles")
        self._concurrency = ConcurrencyLimit(_CONCURRENT_TESTS, "tests of profiles")

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        route = partial(Route, profile_scoped=True, tag="profiles")
        return (
            route(
                *("POST", "/profiles/<id>/test", Role.PROVISION, self._test),
                response_model=ProfileCheckResult,
                summary="Test what the calls of a profile depend on",
            ),
            route(
                *("GET", "/profiles/<id>/effective", Role.READ, self._get_effective),
                response_model=EffectiveProfile,
                summary="Get the settings that apply to the next call of a profile",
            ),
            route(
                *("GET", "/profiles/<id>/recipients", Role.READ, self._list_recipients),
                response_model=list[MailRecipient],
                summary="List the recipients of the mails of a profile, and whether mails to them are encrypted",
            ),
        )

    async def _test(self, request: Request) -> Response:
        """Nothing is called, mailed or recorded: SIP OPTIONS, RCPT without DATA, a webhook of the type `webhook.test`.

        Every check ends within 10 seconds. A failed check is a row of the result, not an error of the request.
        """
        profile = await self._profiles.visible_to(request.principal).get(request.id)
        self._rate.count(request.principal.key)
        with self._concurrency.operation(request.principal.key):
            return json_response(await self._check(profile))

    async def _get_effective(self, request: Request) -> Response:
        """Fields of the profile that are null have the value of the installation."""
        return json_response(self._effective(await self._profiles.visible_to(request.principal).get(request.id)))

    async def _list_recipients(self, request: Request) -> Response:
        """What happens to a mail that is sent now, by `mailEncryption` and the recipient certificates."""
        profile = await self._profiles.visible_to(request.principal).get(request.id)
        return json_response(await self._recipients(profile, request.principal.may_access))
