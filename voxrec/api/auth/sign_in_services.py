"""The composition of users, sessions and second factors, and of the identity provider."""

from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from itertools import chain

from twisted.internet.interfaces import IReactorTime

from voxrec.api.auth.own_password import OwnPassword
from voxrec.api.auth.password_sign_in import PasswordSignIn, SignInPolicy
from voxrec.api.auth.passwords import Passwords
from voxrec.api.auth.second_factors import SecondFactorRoutes
from voxrec.api.auth.session_starter import SessionStarter
from voxrec.api.auth.sessions import SessionRoutes
from voxrec.api.auth.single_sign_on import IdentityProvider, SingleSignOn
from voxrec.api.auth.users import UserRoutes
from voxrec.clock import utc_now
from voxrec.store.audit import Audit
from voxrec.store.second_factors import SecondFactors
from voxrec.store.sessions import Sessions
from voxrec.store.sign_in import SignIn
from voxrec.store.users import Users
from voxrec.web.password_throttle import PasswordThrottle
from voxrec.web.route import Route
from voxrec.web.session_cookie import SessionCookie


class SignInServices:
    """The routes of users, sessions and second factors. ``single_sign_on`` is None if there is no provider."""

    def __init__(
        self,
        clock: IReactorTime,
        *,
        users: Users,
        sessions: Sessions,
        second_factors: SecondFactors,
        sign_in: SignIn,
        audit: Audit,
        passwords: Passwords,
        cookie: SessionCookie,
        public_url: str,
        lifetime: timedelta,
        policy: SignInPolicy,
        provider: IdentityProvider | None,
    ) -> None:
        now, throttle = partial(utc_now, clock), PasswordThrottle(clock)
        starter = SessionStarter(cookie, now, lifetime)
        own_password = OwnPassword(users, passwords, throttle)
        password_sign_in = PasswordSignIn(
            users,
            second_factors,
            sign_in,
            audit,
            passwords,
            throttle,
            PasswordThrottle(clock, "codes"),
            starter,
            policy,
            now,
        )
        self._users = UserRoutes(users, passwords, public_url, now)
        self._sessions = SessionRoutes(
            sessions, sign_in, passwords, password_sign_in, own_password, starter, cookie, public_url
        )
        self._second_factors = SecondFactorRoutes(users, second_factors, own_password, policy, now)
        self.single_sign_on = (
            None
            if provider is None
            else SingleSignOn(clock, provider, sign_in, sessions, audit, starter, public_url, now)
        )

    def routes(self) -> Iterable[Route]:
        """Return the routes."""
        return chain(self._users.routes(), self._sessions.routes(), self._second_factors.routes())
