"""/l/<token>: the page behind an expiring link, which a browser opens without a token of the API.

Retrieving the page is not a use: scanners of mail, previews of messengers and browsers that prefetch do that. The page
has a button, whose POST counts a use and sets a cookie for this visit. During the visit, the same page is the player,
and the audio may be requested as often and in as many ranges as the player wants.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

from twisted.logger import Logger

from voxrec.api.audio.audio_files import AUDIO_TYPES, AudioDamaged, NoAudioYet
from voxrec.api.links.link_pages import HTML, LANGUAGES, PageAddresses, invitation_page, message_page, player_page
from voxrec.clock import UtcNow
from voxrec.errors import NotFound, Unavailable
from voxrec.languages import Language
from voxrec.mail.content import attachment_name
from voxrec.model import AccessPurpose, AuditEntry, AuditOutcome, Link, LinkState, Profile, Recording
from voxrec.store.links import LINK_PATH, Links, ResolvedLink
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings
from voxrec.web.auth import Principal, Role
from voxrec.web.errors import NotAuthenticated, RangeNotSatisfiable, TooManyAttempts
from voxrec.web.login_throttle import LoginThrottle
from voxrec.web.query import QueryParameter
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import CONDITIONAL, Route

VISIT_DURATION: Final = timedelta(hours=4)
"""For how long a browser can play and download after it has opened a link, unless the link expires before."""
_COOKIE: Final = "voxrec-visit"
_COOKIE_VALUE: Final = re.compile(rf"(?:^|[;,])\s*{_COOKIE}=([A-Za-z0-9_-]+)")
_PAGE_TYPE: Final = (HTML.partition(";")[0],)
_PAGES: Final = dict.fromkeys((404, 410, 429, 503), _PAGE_TYPE)

AudioResponder = Callable[[Request, Recording], Awaitable[Response]]
"""Returns the response with the audio of a Recording, or the part of it that a request wants."""


class _NoPage(Exception):
    """The link does not lead to a recording. ``text`` is the key of the texts that say why, ``values`` are in them."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None, **values: object) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})
        self.values = values


class LinkOpeningRoutes:
    """The page behind an expiring link. No token of the API is required: the link is the permission."""

    _log = Logger()

    def __init__(
        self,
        links: Links,
        recordings: Recordings,
        profiles: Profiles,
        audio: AudioResponder,
        audio_parameters: Mapping[str, QueryParameter[Any]],
        throttle: LoginThrottle,
        public_url: str,
        now: UtcNow,
    ) -> None:
        """``audio_parameters`` are the query parameters that ``audio`` reads."""
        self._links = links
        self._recordings = recordings
        self._profiles = profiles
        self._audio = audio
        self._audio_parameters = audio_parameters
        self._throttle = throttle
        self._cookie_path = urlsplit(public_url).path.rstrip("/") + LINK_PATH
        self._cookie_flags = "; Secure" if public_url.startswith("https:") else ""
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        path = f"{LINK_PATH}<name>"
        return (
            Route(
                *("GET", path, None, self._show, None),
                query=None,
                response_model=_PAGE_TYPE,
                responses=_PAGES,
                secret_name=True,
                tag="link pages",
                summary="Get the page of an expiring link",
            ),
            Route(
                *("POST", path, None, self._open, None),
                query=None,
                status=303,
                response_model=(),
                responses=_PAGES,
                response_headers=("Location", "Set-Cookie"),
                secret_name=True,
                audit_in_transaction=True,
                tag="link pages",
                summary="Open an expiring link",
            ),
            Route(
                *("GET", f"{path}/audio", None, self._get_audio, None),
                query=self._audio_parameters,
                response_model=AUDIO_TYPES,
                responses={206: None, 403: _PAGE_TYPE, **_PAGES},
                request_headers=(*CONDITIONAL, "Range", "If-Range"),
                response_headers=("Accept-Ranges", "Content-Disposition", "ETag"),
                errors=(NoAudioYet, RangeNotSatisfiable, AudioDamaged),
                secret_name=True,
                tag="link pages",
                summary="Get the audio of an expiring link",
            ),
        )

    async def _show(self, request: Request) -> Response:
        """This does not count as a use. Before the link is opened, the page has nothing about the recording."""
        return await self._page(request, self._invitation_or_player)

    async def _open(self, request: Request) -> Response:
        """This counts as a use, unless the browser has opened the link before. It can play and download for 4 hours."""
        return await self._page(request, self._begin_visit)

    async def _get_audio(self, request: Request) -> Response:
        """Requires the cookie that opening the link has set."""
        return await self._page(request, self._audio_of_visit)

    async def _page(self, request: Request, handle: Callable[[Request, Language], Awaitable[Response]]) -> Response:
        """Return the response of ``handle``, or the page that says why there is none."""
        language = LANGUAGES.choose(request.headers.get("accept-language", ""))
        try:
            return await handle(request, language)
        except _NoPage as error:
            title, message = language.text(f"{error.text}_title"), language.text(error.text, **error.values)
            response = message_page(language, error.status, title, message)
            return replace(response, headers={**response.headers, **error.headers})
        except Unavailable as error:
            self._log.warn("the page of a link is answered with 503: {detail}", detail=error.detail)
            title, message = language.text("unavailable_title"), language.text("unavailable_page")
            return message_page(language, 503, title, message)

    async def _invitation_or_player(self, request: Request, language: Language) -> Response:
        resolved, link = await self._resolve(request, language)
        addresses = PageAddresses(request.name, f"{request.name}/audio")
        if await self._is_visitor(request, resolved, link):
            recording = await self._recording(link)
            return player_page(language, link, recording, await self._profile(recording), addresses)
        self._require_active(link)
        return invitation_page(language, link, addresses)

    async def _begin_visit(self, request: Request, language: Language) -> Response:
        resolved, link = await self._resolve(request, language)
        headers = {"Location": request.name}  # relative: a reverse proxy may add a prefix
        if await self._is_visitor(request, resolved, link):  # a second click
            return Response(303, headers)
        user_agent = request.user_agent
        visit_id = await self._links.use(
            link.id, request.address, user_agent, lambda: self._audit_entry(request, link, user_agent)
        )
        if visit_id is None:
            _, link = await self._resolve(request, language)  # it may have changed since
            self._require_active(link)
            raise _NoPage(410, LinkState.USED_UP)
        return Response(303, {**headers, "Set-Cookie": self._cookie(request, resolved.visit_token(link, visit_id))})

    async def _audio_of_visit(self, request: Request, language: Language) -> Response:
        resolved, link = await self._resolve(request, language)
        if not await self._is_visitor(request, resolved, link):
            self._require_active(link)
            raise _NoPage(403, "closed")
        recording = await self._recording(link)
        # what one visitor converts does not count for others
        as_visitor = replace(request, principal=Principal(f"link {link.id}", Role.READ))
        response = await self._audio(as_visitor, recording)
        headers = {**response.headers, "Cache-Control": "no-store", "X-Robots-Tag": "noindex"}
        if response.status in (200, 206) and "format" not in request.query and "channel" not in request.query:
            headers["Content-Disposition"] = f'attachment; filename="{attachment_name(recording)}"'
        return replace(response, headers=headers)

    async def _resolve(self, request: Request, language: Language) -> tuple[ResolvedLink, Link]:
        """Return the link of the path. Raises _NoPage if it is forged, expired, revoked or deleted."""
        try:
            resolved = await self._throttle.attempt(request.address, request.name, self._genuine)
        except NotAuthenticated:
            raise _NoPage(404, "invalid") from None
        except TooManyAttempts as error:
            seconds = error.headers.get("Retry-After", "")
            raise _NoPage(429, "throttled", error.headers, seconds=seconds) from None
        link = resolved.link
        if link is None:
            raise _NoPage(410, "deleted")
        if link.state is LinkState.EXPIRED:
            raise _NoPage(410, LinkState.EXPIRED, time=language.time(link.expires_at))
        if link.state is LinkState.REVOKED:
            raise _NoPage(410, LinkState.REVOKED)
        return resolved, link

    async def _genuine(self, token: str) -> ResolvedLink:
        resolved = await self._links.resolve(token)
        if resolved is None:
            raise NotAuthenticated("This link is not valid.")
        return resolved

    def _require_active(self, link: Link) -> None:
        if link.state is LinkState.USED_UP:
            raise _NoPage(410, LinkState.USED_UP)

    async def _is_visitor(self, request: Request, resolved: ResolvedLink, link: Link) -> bool:
        """Return whether the browser has opened this link, and its visit lasts."""
        for value in _COOKIE_VALUE.findall(request.headers.get("cookie", ""))[:4]:
            visit_id = resolved.visit_id(link, value)
            if visit_id is not None and await self._links.is_visited(link.id, visit_id, VISIT_DURATION):
                return True
        return False

    async def _recording(self, link: Link) -> Recording:
        try:
            return await self._recordings.get(link.recording_id)
        except NotFound:
            raise _NoPage(410, "deleted") from None

    async def _profile(self, recording: Recording) -> Profile | None:
        try:
            return await self._profiles.get(recording.profile_id)
        except NotFound:
            return None

    def _cookie(self, request: Request, visit: str) -> str:
        seconds = int(VISIT_DURATION.total_seconds())
        path = f"{self._cookie_path}{request.name}"
        return f"{_COOKIE}={visit}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{self._cookie_flags}"

    def _audit_entry(self, request: Request, link: Link, user_agent: str) -> AuditEntry:
        return AuditEntry(
            id=uuid4(),
            created_at=self._now(),
            who="link",
            address=request.address,
            method="POST",
            path=f"/recordings/{link.recording_id}/links/{link.id}",
            kind="recording link",
            target_id=link.recording_id,
            outcome=AuditOutcome.DONE,
            status=303,
            user_agent=user_agent,
            access=AccessPurpose.LINK,
        )
